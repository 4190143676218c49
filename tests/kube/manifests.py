"""The least that runs us on every node, as plain objects: what the chart must amount to."""

import base64
import os
from typing import Any

from lab.node import PEER_PORT, STATUS_PORT

NAME = "spegel-gossip"
NAMESPACE = "spegel-gossip"
_LABELS = {"app.kubernetes.io/name": NAME}
_MOUNTS = {
    "containerd": ("/run/containerd", "/run/containerd", "Directory", True),
    "content": ("/var/lib/containerd", "/var/lib/containerd", "Directory", True),
    "hosts": ("/etc/containerd/certs.d", "/etc/containerd/certs.d", "DirectoryOrCreate", False),
    "state": ("/var/lib/spegel-gossip", "/var/lib/spegel-gossip", "DirectoryOrCreate", False),
}


def manifests(image: str, *, discovery: str) -> list[dict[str, Any]]:
    """All objects of a release whose seeds come from `dns` or `kubernetes`."""
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS}
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    key = base64.b64encode(base64.b64encode(os.urandom(32))).decode()
    ports = [{"name": "peers", "port": PEER_PORT, "protocol": "TCP"}]
    service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": _LABELS, "ports": ports}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": privileged}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"key": key}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]
    if discovery == "kubernetes":
        objects += _rights(metadata)
    return [*objects, _daemon_set(image, metadata, discovery)]


def _rights(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "Role", "name": NAME}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": role,
        },
    ]


def _daemon_set(image: str, metadata: dict[str, Any], discovery: str) -> dict[str, Any]:
    seeds = {
        "dns": f"--seed-dns={NAME}.{NAMESPACE}.svc.cluster.local",
        "kubernetes": f"--kubernetes-service={NAME}",
    }
    container = {
        "name": NAME,
        "image": image,
        "args": [
            "run",
            "--node-name=$(NODE_NAME)",
            "--advertise-address=$(NODE_ADDRESS)",
            f"--status-listen=$(NODE_ADDRESS):{STATUS_PORT}",
            "--cluster-key-file=/etc/spegel-gossip/key",
            "--write-hosts",
            seeds[discovery],
        ],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": STATUS_PORT}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": STATUS_PORT}, "failureThreshold": 10},
        "securityContext": {
            "runAsUser": 0,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *({"name": one, "mountPath": to, "readOnly": ro} for one, (_, to, _, ro) in _MOUNTS.items()),
            {"name": "key", "mountPath": "/etc/spegel-gossip", "readOnly": True},
        ],
    }
    volumes = [
        *(
            {"name": one, "hostPath": {"path": path, "type": kind}}
            for one, (path, _, kind, _) in _MOUNTS.items()
        ),
        {"name": "key", "secret": {"secretName": NAME, "defaultMode": 0o400}},
    ]
    pod = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "serviceAccountName": NAME,
        "automountServiceAccountToken": discovery == "kubernetes",
        "terminationGracePeriodSeconds": 40,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": volumes,
    }
    template = {"metadata": {"labels": _LABELS}, "spec": pod}
    spec = {"selector": {"matchLabels": _LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}
