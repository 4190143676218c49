"""Our release in a cluster: installed, upgraded, looked at from outside, and taken away."""

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kube.objects import is_rolled_out
from kubelab.cluster import KubeCluster, holds_yet
from kubelab.node import KubeNode
from lab.process import CommandError, wait_until
from lab.registry import HOST

NAME = "spegel-gossip"
NAMESPACE = "spegel-gossip"
IMAGE = f"{HOST}/spegel-gossip:dev"
CHART = Path(__file__).resolve().parents[2] / "deploy" / "chart"
ROLLED_OUT_TIMEOUT = 120.0
MEMBERS_TIMEOUT = 60.0
FOUND_TIMEOUT = 30.0
GONE_TIMEOUT = 30.0
ADMIN_TIMEOUT = 10.0
ADMIN_SOCKET = Path("/var/lib/spegel-gossip/admin.sock")
_LABEL = f"app.kubernetes.io/name={NAME}"


class Release:
    """The DaemonSet and what belongs to it."""

    def __init__(self, cluster: KubeCluster, image: str) -> None:
        self._cluster = cluster
        self._image = image
        self._hosts_before: dict[str, bytes] = {}

    def install(self, *values: str) -> None:
        """Install the chart with these values (`name=value`), and wait until it is ready everywhere."""
        if not self._hosts_before:
            self.remember_hosts()
        self._cluster.helm("install", *self._chart(*values), "--create-namespace")
        self.wait_ready(len(self._cluster.nodes))

    def remember_hosts(self) -> None:
        """Take the hosts.toml files of now for those that are to be there in the end."""
        # All nodes are made alike, those that are added later too.
        self._hosts_before = self._cluster.nodes[0].hosts_files()

    def begin_upgrade(self, *values: str) -> None:
        """Install the chart again with other values, and do not wait."""
        self._cluster.helm("upgrade", *self._chart(*values))

    def is_upgraded(self) -> bool:
        """Whether all pods are of the newest revision, and ready."""
        return holds_yet(lambda: self._is_rolled_out(NAME, len(self._cluster.nodes), NAMESPACE))

    def uninstall(self) -> None:
        """Take it away, as an operator does; helm waits for what it starts."""
        self._cluster.helm("uninstall", NAME, "-n", NAMESPACE)

    def wait_gone(self) -> None:
        """Wait until nothing of it is left, the pods of its hook neither: they are told to end, and do."""
        wait_until(
            lambda: holds_yet(lambda: self._left() == []),
            what="nothing to be left of the release",
            timeout=GONE_TIMEOUT,
        )

    def _left(self) -> list[str]:
        found = self._cluster.get("all", "-n", NAMESPACE)["items"]
        # Kubernetes keeps the pod of a node that was removed for a minute more.
        here = {node.name for node in self._cluster.nodes}
        return [
            one["metadata"]["name"]
            for one in found
            if one["kind"] != "Pod" or one["spec"].get("nodeName") in {None, *here}
        ]

    def changed_nodes(self) -> list[str]:
        """The nodes whose hosts.toml files are not what was to be there in the end."""
        nodes = self._cluster.nodes
        return [node.name for node in nodes if node.hosts_files() != self._hosts_before]

    def _chart(self, *values: str) -> list[str]:
        repository, _, tag = self._image.rpartition(":")
        chosen = (f"image.repository={repository}", f"image.tag={tag}", *values)
        return [NAME, str(CHART), "-n", NAMESPACE, *(f"--set={one}" for one in chosen)]

    def wait_ready(self, count: int) -> None:
        """Wait until the DaemonSet is ready on so many nodes and all of these know each other."""
        self.wait_rolled_out(NAME, count, namespace=NAMESPACE)
        for node in self._cluster.nodes:
            self.wait_members(node, count)

    def wait_rolled_out(self, name: str, count: int, *, namespace: str = "default") -> None:
        """Wait until a DaemonSet is ready on so many nodes."""
        try:
            wait_until(
                lambda: holds_yet(lambda: self._is_rolled_out(name, count, namespace)),
                what=f"DaemonSet {name} to be ready on {count} nodes",
                timeout=ROLLED_OUT_TIMEOUT,
            )
        except TimeoutError as error:
            error.add_note(self.describe())
            raise

    def _is_rolled_out(self, name: str, count: int, namespace: str) -> bool:
        return is_rolled_out(self._cluster.get("daemonset", name, "-n", namespace), count)

    def wait_members(self, node: KubeNode, count: int) -> None:
        """Wait until a node counts so many members alive."""
        wait_until(
            lambda: self.alive(node) == count,
            what=f"{node.name} to count {count} members alive",
            timeout=MEMBERS_TIMEOUT,
        )

    def wait_running(self, name: str) -> None:
        """Wait until a pod runs."""
        try:
            wait_until(
                lambda: holds_yet(lambda: self._cluster.get("pod", name)["status"].get("phase") == "Running"),
                what=f"pod {name} to run",
                timeout=ROLLED_OUT_TIMEOUT,
            )
        except TimeoutError as error:
            error.add_note(self._cluster.kubectl("describe", "pod", name) + self.describe())
            raise

    def wait_holder(self, node: KubeNode, reference: str, holder: str) -> None:
        """Wait until a node finds another as a holder of an image, whichever owner it asks."""

        def is_found() -> bool:
            named = self._admin(node, f"/holders?{urlencode({'key': reference})}").get("named_by", {})
            return bool(named) and all(holder in one for one in named.values())

        wait_until(
            is_found,
            what=f"{node.name} to find {holder} as a holder of {reference}",
            timeout=FOUND_TIMEOUT,
        )

    def _admin(self, node: KubeNode, path: str) -> dict[str, Any]:
        # By the socket in the state directory, which is there on the pods' network and on the node's alike.
        connection = http.client.HTTPConnection("localhost")
        connection.sock = link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(ADMIN_TIMEOUT)
        with closing(connection):
            try:
                link.connect(str(node.machine.path(ADMIN_SOCKET)))
                connection.request("GET", path)
                document: dict[str, Any] = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException):
                return {}
        return document

    def alive(self, node: KubeNode) -> int:
        """How many members a node counts as alive; 0 while it does not answer."""
        members = self._admin(node, "/members").get("members", [])
        return sum(one["state"] == "alive" for one in members)

    def pods(self) -> Mapping[str, Any]:
        """Our pods by their node."""
        found = self._cluster.get("pods", "-n", NAMESPACE)["items"]
        return {one["spec"]["nodeName"]: one for one in found}

    def restarts(self) -> int:
        """How often the containers of our pods were started again."""
        statuses = [one["status"].get("containerStatuses", []) for one in self.pods().values()]
        return sum(one["restartCount"] for each in statuses for one in each)

    def command(self, node: KubeNode, *arguments: str) -> str:
        """Run `spegel-gossip ARGUMENTS` in a node's pod, as an operator does; returns what it printed."""
        pod = self.pods()[node.name]["metadata"]["name"]
        return self._cluster.kubectl("exec", "-n", NAMESPACE, pod, "-c", "mirror", "--", NAME, *arguments)

    def describe(self) -> str:
        """The logs of our pods."""
        try:
            return self._cluster.kubectl("logs", "-n", NAMESPACE, "-l", _LABEL, "--tail=40", "--prefix")
        except CommandError as error:
            return str(error)
