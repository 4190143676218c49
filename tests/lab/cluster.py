"""`Lab`: a registry and some nodes, put together and taken down."""

import base64
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.containerd import Containerd, ContainerdBuild, containerd_build
from lab.network import Network
from lab.node import MIRROR_PORT, PEER_PORT, Node
from lab.registry import HOST, REGISTRY_PORT, Registry

NODE_NAMES = "abcdefghijklmnop"
_REGISTRY_HOST = 2
_OUTSIDER_HOST = 3
_FIRST_NODE_HOST = 11

_NEEDED = ("ip", "tc", "iptables", "iptables-restore", "setpriv", "docker-registry")


def missing_for_lab() -> str | None:
    """Why a lab cannot run on this machine, with the remedy; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        packages = "iproute2 iptables util-linux docker-registry"
        return f"not installed: {', '.join(missing)} (apt-get install {packages})"
    return None


class Lab:
    """A docker-registry and nodes `a`, `b`, ... with their containerds, on a network of their own.

    `outsider` is one more namespace with nothing in it, for whoever is no member of the cluster.
    Inside the `with` block the registry and the containerds run; our processes start when told to. All of it
    is gone after the block, however it ends.
    """

    def __init__(self, *, nodes: int, containerd: str) -> None:
        self.build: ContainerdBuild = containerd_build(containerd)
        self.nodes: list[Node] = []
        self._count = nodes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.network = stack.enter_context(Network())
            name = tempfile.mkdtemp(prefix=f"{self.network.prefix}-")
            self.directory = Path(name)
            stack.callback(shutil.rmtree, name, ignore_errors=True)
            self.key = self.directory / "key"
            self.write_key(self.key)
            reachable = self.network.add("reg", _REGISTRY_HOST, open_ports=[REGISTRY_PORT])
            self.registry = Registry(reachable, self.directory)
            stack.callback(self.registry.stop)
            self.outsider = self.network.add("out", _OUTSIDER_HOST, open_ports=[PEER_PORT])
            for name in NODE_NAMES[: self._count]:
                self._add_node(name, stack)
            for node in self.nodes:
                node.containerd.begin_start()
            self.registry.start()
            for node in self.nodes:
                node.containerd.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A wait that ended in vain shows the logs it is about by itself.
        if error is not None and not isinstance(error, TimeoutError):
            error.add_note(self.describe())
        self._stack.__exit__(kind, error, trace)

    def _add_node(self, name: str, stack: ExitStack) -> None:
        directory = self.directory / name
        hosts = directory / "certs.d"
        for host in (HOST, "docker.io"):
            self._write_hosts(hosts / host)
        number = _FIRST_NODE_HOST + len(self.nodes)
        namespace = self.network.add(name, number, open_ports=[PEER_PORT])
        containerd = Containerd(self.build, namespace, directory, hosts)
        stack.callback(containerd.kill)
        node = Node(name, namespace, containerd, directory, hosts, self.key)
        stack.callback(node.end)
        self.nodes.append(node)

    def _write_hosts(self, directory: Path) -> None:
        # As an operator writes it by hand for a registry that is not where its name says: the mirror
        # first, then upstream as a host of its own (1.6 refuses a file without a [host] table).
        directory.mkdir(parents=True)
        mirror, upstream = f"http://127.0.0.1:{MIRROR_PORT}", self.registry.url
        tables = [f'[host."{url}"]\n  capabilities = ["pull", "resolve"]\n' for url in (mirror, upstream)]
        (directory / "hosts.toml").write_text("\n".join([f'server = "{upstream}"\n', *tables]))

    def write_key(self, path: Path) -> None:
        """Write a new cluster key."""
        path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        path.chmod(0o600)

    def start_nodes(self, *arguments: str, nodes: Sequence[Node] | None = None) -> None:
        """Start our process on these nodes (all of them by default), and wait until each knows the others.

        Each has the others as its seeds, as a headless service would tell it.
        """
        started = self.nodes if nodes is None else nodes
        for node in started:
            node.start(*arguments, seeds=[other.address for other in started if other is not node])
        for node in started:
            node.wait_ready()
        for node in started:
            node.wait_members(*(one.name for one in started))

    def end_nodes(self) -> None:
        """Kill our processes and what they remember of each other; the containerds keep what they have."""
        for node in self.nodes:
            node.end()
            shutil.rmtree(node.directory / "state", ignore_errors=True)

    def reset(self) -> None:
        """Undo what a test did: no faults, no processes of ours, the registry and the containerds running."""
        self.end_nodes()
        for node in self.nodes:
            node.namespace.heal()
            node.namespace.lift_bandwidth_limit()
            node.namespace.set_link(up=True)
            node.containerd.begin_start()
        self.registry.start()
        for node in self.nodes:
            node.containerd.wait_ready()
        self.registry.forget()

    def describe(self) -> str:
        """The ends of all logs."""
        return "\n".join(node.describe() for node in self.nodes)
