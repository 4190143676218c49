"""Kubernetes objects that the cases apply: pods and DaemonSets that only have to be pulled and started."""

from collections.abc import Mapping
from typing import Any

GRACE = 1
"""Seconds that a pod of ours gets to end; pause ends at once."""


def pod(name: str, image: str, *, node: str) -> dict[str, Any]:
    """A pod on one node that waits."""
    containers = [{"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}]
    spec = {"nodeName": node, "containers": containers, "terminationGracePeriodSeconds": GRACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _named(name), "spec": spec}


def daemon_set(name: str, image: str) -> dict[str, Any]:
    """The same on every node."""
    labels = {"app": name}
    containers = [{"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}]
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": GRACE},
    }
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _named(name), "spec": spec}


def is_rolled_out(found: Mapping[str, Any], count: int) -> bool:
    """Whether a DaemonSet has so many pods, all of its newest template, all ready."""
    status = found.get("status", {})
    wanted = ("desiredNumberScheduled", "numberReady", "updatedNumberScheduled")
    is_observed = status.get("observedGeneration") == found["metadata"]["generation"]
    return is_observed and all(status.get(one) == count for one in wanted)


def _named(name: str) -> dict[str, str]:
    return {"name": name, "namespace": "default"}
