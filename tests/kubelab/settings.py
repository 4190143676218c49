"""What containerd, the kubelet, kube-proxy and the CNI plugins of a node are told."""

import json
from pathlib import Path
from typing import Any

PAUSE_IMAGE = "pause.lab/pause:1"
CERTS_DIRECTORY = Path("/etc/containerd/certs.d")
CLUSTER_DOMAIN = "cluster.local"
PODS = "10.244.0.0/16"
KUBERNETES = Path("/etc/kubernetes")


def containerd_config(major: int) -> str:
    """Its configuration; version 1 has one CRI plugin where version 2 has two."""
    if major >= 2:
        version, images, runtime = 3, "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"
        sandbox = f'[plugins."{images}".pinned_images]\n  sandbox = "{PAUSE_IMAGE}"\n'
        pause, cni = "", 'bin_dirs = ["/opt/cni/bin"]'
    else:
        version, images, runtime = 2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri"
        sandbox, pause, cni = "", f'  sandbox_image = "{PAUSE_IMAGE}"\n', 'bin_dir = "/opt/cni/bin"'
    return (
        f'version = {version}\nroot = "/var/lib/containerd"\nstate = "/run/containerd"\n'
        '[grpc]\n  address = "/run/containerd/containerd.sock"\n'
        # Without CAP_SYS_RESOURCE runc may not lower oom_score_adj, and no pod starts.
        f'[plugins."{runtime}"]\n  restrict_oom_score_adj = true\n{pause}{sandbox}'
        f'[plugins."{images}".registry]\n  config_path = "{CERTS_DIRECTORY}"\n'
        f'[plugins."{runtime}".cni]\n  {cni}\n  conf_dir = "/etc/cni/net.d"\n'
        f'[plugins."{runtime}".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n'
        f'[plugins."{runtime}".containerd.runtimes.runc.options]\n  SystemdCgroup = false\n'
    )


def kubelet_config(dns_address: str) -> str:
    """A kubelet for a machine whose memory and disk are shared: it evicts nothing and collects no image."""
    never = (
        "memory.available",
        "nodefs.available",
        "nodefs.inodesFree",
        "imagefs.available",
        "imagefs.inodesFree",
    )
    return _document(
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        {
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "readOnlyPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(KUBERNETES / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "evictionHard": dict.fromkeys(never, "0%"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "clusterDomain": CLUSTER_DOMAIN,
            "clusterDNS": [dns_address],
            "nodeStatusUpdateFrequency": "5s",
            "nodeStatusReportFrequency": "10s",
        },
    )


def kube_proxy_config() -> str:
    """A kube-proxy that leaves the host's limits of connection tracking alone."""
    return _document(
        "kubeproxy.config.k8s.io/v1alpha1",
        "KubeProxyConfiguration",
        {
            "clientConnection": {"kubeconfig": str(KUBERNETES / "kube-proxy.conf")},
            "mode": "iptables",
            "clusterCIDR": PODS,
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "iptables": {"minSyncPeriod": "100ms"},
        },
    )


def cni_config(pods: str) -> str:
    """A bridge for the pods of one node, whose subnet is `pods`, and hostPort."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    plugins = [{**bridge, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": plugins})


def _document(version: str, kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": version, "kind": kind, **fields}, indent=1)
