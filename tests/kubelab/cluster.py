"""`KubeCluster`: the registry, the control plane and the nodes, put together and taken down."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kubelab.archives import program_image, write_archive
from kubelab.cgroups import Cgroup, own_cgroups
from kubelab.control_plane import ControlPlane
from kubelab.node import KubeNode
from kubelab.programs import ProgramMissingError, cni_directory, containerd_programs, program
from kubelab.settings import PAUSE_IMAGE
from lab.cluster import missing_for_lab
from lab.images import Artifact
from lab.network import Namespace, Network
from lab.process import CommandError, run, wait_until
from lab.registry import HOST, Registry

GRACE_PERIOD = 16.0
"""Seconds without a word from a kubelet after which its node is not ready (Kubernetes itself: 50)."""

READY_TIMEOUT = 90.0
HELM_TIMEOUT = 180.0
_SIZE = "12g"
_CONTROL_PLANE, _DNS, _REGISTRY, _FIRST_NODE = 5, 3, 2, 11
_PROGRAMS = (
    *(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "coredns",
        "kubelet",
        "kube-proxy",
    ),
    *("runc", "pause", "helm", "kubectl", "iptables"),
)


def missing_for_cluster(containerd: str) -> str | None:
    """Why a cluster cannot run on this machine, with the remedy; None when it can."""
    if reason := missing_for_lab():
        return reason
    if "memory" not in own_cgroups():
        return "the nodes need the hierarchies of cgroup v1, and this host has only cgroup v2"
    try:
        for name in _PROGRAMS:
            program(name)
        containerd_programs(containerd)
        cni_directory()
    except ProgramMissingError as error:
        return str(error)
    return None


def holds_yet(condition: Callable[[], bool]) -> bool:
    """Whether it holds; where kubectl failed, it does not yet: a busy API server lets a question time out."""
    try:
        return condition()
    except CommandError:
        return False


class KubeCluster:
    """Nodes `n1`, `n2`, ... that are ready inside the `with` block, and gone after it, however it ends.

    The nodes reach the registry as `registry.lab`, by hosts.toml.
    """

    def __init__(self, *, nodes: int, containerd: str) -> None:
        self.nodes: list[KubeNode] = []
        self._containerd = containerd_programs(containerd)
        self._count = nodes
        self._added = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.network = stack.enter_context(Network())
            self.directory = self._scratch(stack)
            # Whatever has not ended by itself when all else is closed is in here.
            stack.callback(Cgroup(self.network.prefix).delete)
            self.registry = Registry(self._namespace("reg", _REGISTRY), self.directory)
            stack.callback(self.registry.stop)
            self.registry.start()
            self.control_plane = ControlPlane(
                self._namespace("cp", _CONTROL_PLANE),
                f"10.77.0.{_DNS}",
                self.directory / "control-plane",
                Cgroup(f"{self.network.prefix}/control-plane"),
                grace_period=GRACE_PERIOD,
            )
            stack.callback(self.control_plane.stop)
            self.control_plane.start()
            self.pause_image = program_image(program("pause"))
            self._pause_archive = self.directory / "pause.tar"
            write_archive(self.pause_image, self._pause_archive, PAUSE_IMAGE)
            stack.callback(self._delete_nodes)
            self.add_nodes(self._count)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add_nodes(self, count: int = 1) -> list[KubeNode]:
        """Return new nodes that run and are ready."""
        new = []
        for _ in range(count):
            self._added += 1
            name = f"n{self._added}"
            directory = self.directory / name
            directory.mkdir()
            cgroup = Cgroup(f"{self.network.prefix}/{name}")
            namespace = self._namespace(name, _FIRST_NODE + self._added - 1)
            node = KubeNode(name, self._added, namespace, directory, cgroup, self._containerd)
            node.prepare(self.control_plane.pki, self.control_plane.dns_address)
            node.write_hosts(HOST, self.registry.url)
            new.append(node)
        self.nodes += new
        self._route_pods()
        self.start_nodes(new)
        return new

    def start_nodes(self, nodes: Sequence[KubeNode]) -> None:
        """Switch nodes on and wait until they are ready."""
        for node in nodes:
            node.begin_start()
        for node in nodes:
            node.finish_start(self._pause_archive)
        for node in nodes:
            self.wait_node(node, is_ready=True)

    def remove_node(self, node: KubeNode) -> None:
        """Switch a node off for good and delete its object."""
        node.stop()
        self.kubectl("delete", "node", node.name, "--wait=false")
        self.nodes.remove(node)
        node.machine.delete()

    def wait_node(self, node: KubeNode, *, is_ready: bool, timeout: float = READY_TIMEOUT) -> None:
        """Wait until Kubernetes thinks this of the node."""
        wait_until(
            lambda: holds_yet(lambda: self._is_ready(node) == is_ready),
            what=f"node {node.name} to be {'ready' if is_ready else 'not ready'}",
            timeout=timeout,
            logs=sorted(node.machine.directory.glob("*.log")),
        )

    def _is_ready(self, node: KubeNode) -> bool:
        conditions = self.get("node", node.name)["status"].get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def push(self, artifact: Artifact, repository: str, tag: str) -> str:
        """Push an image; returns the reference by which the nodes pull it."""
        return self.registry.push(artifact, repository, tag)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl beside the API server."""
        return self.control_plane.kubectl(*arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm beside the API server."""
        return self.control_plane.client("helm", *arguments, timeout=HELM_TIMEOUT)

    def get(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever object it is
        """One object, or a list of objects."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        self.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def describe(self) -> str:
        """What Kubernetes says, and the ends of all logs."""
        try:
            said = self.kubectl("get", "pods,nodes,events", "-A", "-o", "wide")
        except CommandError as error:
            said = str(error)
        logs = (node.machine.describe() for node in self.nodes)
        return "\n".join([said, *logs, self.control_plane.describe()])

    def _namespace(self, name: str, host: int) -> Namespace:
        namespace = self.network.add(name, host, open_ports=[])
        # Kubernetes' own ports are many: nothing is filtered but what a test black-holes.
        namespace.run("iptables", "-P", "INPUT", "ACCEPT")
        namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        return namespace

    def _route_pods(self) -> None:
        everybody = [
            self.control_plane.namespace,
            self.registry.namespace,
            *(one.namespace for one in self.nodes),
        ]
        for namespace in everybody:
            for node in self.nodes:
                if node.namespace is not namespace:
                    run("ip", "-n", namespace.name, "route", "replace", node.pods, "via", node.address)

    def _delete_nodes(self) -> None:
        for node in self.nodes:
            node.power_off()
        for node in self.nodes:
            node.machine.delete()

    def _scratch(self, stack: ExitStack) -> Path:
        # In memory: etcd and five containerds write to the disk at once otherwise.
        path = Path(tempfile.mkdtemp(prefix=f"{self.network.prefix}-"))
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        path.chmod(0o755)
        run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", self.network.prefix, str(path))
        stack.callback(_unmount, path)
        return path


def _unmount(path: Path) -> None:
    # Lazily: a process that is ending may hold it for a moment longer.
    if os.path.ismount(path):
        run("umount", "-l", str(path))
