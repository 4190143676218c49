"""The ways in which the chart is rendered: by name, the arguments of helm beside a key's Secret."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUSTOM = {"monitoring.coreos.com/v1", "cilium.io/v2"}
"""What Kubernetes itself does not know."""

DIGEST = "sha256:" + "ab" * 32
MONITORING = ["serviceMonitor.enabled=true", "prometheusRule.enabled=true", "grafanaDashboard.enabled=true"]

VARIANTS: dict[str, list[str]] = {
    "default": [],
    "pod network": ["--set", "hostNetwork=false", "--set", "networkPolicy.enabled=true"],
    "pod network without policy": ["--set", "hostNetwork=false"],
    "kubernetes": ["--set", "discovery.kind=kubernetes"],
    "kubernetes in the pod network": [
        *("--set", "discovery.kind=kubernetes"),
        *("--set", "hostNetwork=false,networkPolicy.enabled=true"),
    ],
    "zone from the node": ["--set", "zoneFromNode=true"],
    "static": ["--set", "discovery.kind=static", "--set", "discovery.seeds={10.0.0.1,node-b:1}"],
    "plaintext": ["--set", "cluster.plaintext=true,cluster.key.existingSecret="],
    "plaintext and a key": ["--set", "cluster.plaintext=true"],
    "cilium": [
        *("--set", "networkPolicy.cilium.enabled=true,discovery.kind=kubernetes"),
        *("--set-json", 'networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]'),
    ],
    "monitoring": ["--set", ",".join(MONITORING)],
    "no hosts": ["--set", "spegelGossip.containerdMirrorAdd=false"],
    "no hosts, and no state left": [
        *("--set", "spegelGossip.containerdMirrorAdd=false,cleanup.removeState=true"),
    ],
    "everything": [
        *("--set", f"image.digest={DIGEST},imagePullSecrets[0].name=pull,namespace.create=true,zone=eu-1a"),
        *("--set", "seLinuxOptions.type=spc_t,cleanup.removeState=true,livenessProbe.enabled=false"),
        *("--set", "commonLabels.team=a,podAnnotations.b=c,daemonsetAnnotations.d=e,cluster.name=prod"),
        *("--set", "spegelGossip.mirroredRegistries={https://ghcr.io,http://registry.lan:5000}"),
        *("--set-json", r'spegelGossip.registryFilters=["^ghcr\\.io/secret/","a{1,2}"]'),
        *("--set-json", 'spegelGossip.tagPolicies=["latest$=never",".*=fresh:30s"]'),
        *("--set", "spegelGossip.logLevel=debug,spegelGossip.logFormat=console"),
        *("--set", "spegelGossip.defaultRegistry=ghcr.io,spegelGossip.containerdNamespace=other"),
    ],
}
for platform in sorted(path.name for path in (ROOT / "deploy" / "platforms").glob("*.yaml")):
    VARIANTS[platform] = ["--values", f"deploy/platforms/{platform}"]
