"""One container of our image on a node of the lab, confined as the chart's DaemonSet confines it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.containerd import Containerd
from lab.node import Node
from lab.process import CommandError, Process, run

STATE = "/var/lib/spegel-gossip"


def mounts_of(node: Node, key: Path) -> dict[str, tuple[Path, str]]:
    """The DaemonSet's mounts: where in the container, what of the node, and whether it may be written."""
    (node.directory / "state").mkdir(mode=0o700, exist_ok=True)
    return {
        "/run/containerd": (node.containerd.socket.parent, "ro"),
        "/var/lib/containerd": (node.containerd.root, "ro"),
        "/etc/containerd/certs.d": (node.hosts, "rw"),
        STATE: (node.directory / "state", "rw"),
        "/etc/spegel-gossip/key": (key, "ro"),
    }


def inside(node: Node, *argv: str) -> str:
    """Run a command where the node's containerd sees what it mounts."""
    return run("nsenter", "--target", _daemon(node), "--mount", "--net", "--", *argv)


def root_of(node: Node) -> Path:
    """The root directory as the node's containerd sees it."""
    return Path(f"/proc/{_daemon(node)}/root")


@contextmanager
def mounted(node: Node, image: str, path: Path) -> Iterator[Path]:
    """The files of an image at `path`, for the node's containerd alone."""
    path.mkdir(exist_ok=True)
    ctr = (str(node.containerd.build.ctr), "-a", str(node.containerd.socket), "-n", "k8s.io", "images")
    # Writable, as a container's own snapshot is: mount points are made in it before the root turns read-only.
    inside(node, *ctr, "mount", "--rw", image, str(path))
    try:
        yield path
    finally:
        inside(node, *ctr, "unmount", "--rm", str(path))


def _daemon(node: Node) -> str:
    # `ip netns exec` gives every command a mount namespace of its own; containerd is the first one here.
    return run("ip", "netns", "pids", node.namespace.name).split()[0]


class Container:
    """Runs from `__enter__` to `__exit__`; its root is the image, read-only."""

    def __init__(self, node: Node, image: str, argv: list[str], mounts: dict[str, tuple[Path, str]]) -> None:
        self._node = node
        self._image = image
        self._argv = argv
        self._mounts = mounts
        # Unique on this machine: the containerds of a lab share one directory of runc's.
        self._name = node.namespace.name
        self._stack = ExitStack()
        self.log = node.directory / "container.log"

    @property
    def _containerd(self) -> Containerd:
        return self._node.containerd

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            root = stack.enter_context(mounted(self._node, self._image, self._node.directory / "rootfs"))
            spec = self._node.directory / "spec.json"
            spec.write_text(json.dumps(self._spec(root)))
            flags = ("--config", str(spec), self._name)
            argv = ["ctr", "-a", str(self._containerd.socket), "-n", "k8s.io", "run", "--rm", *flags]
            self.process = Process(self._node.namespace.argv(*argv), log=self.log)
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def stop(self) -> int:
        """SIGTERM to the program, as the kubelet does; returns the exit status that ctr passes on."""
        self._containerd.ctr("tasks", "kill", "--signal", "SIGTERM", self._name)
        return self.process.wait()

    def _end(self) -> None:
        if self.process.is_running():
            try:
                self._containerd.ctr("tasks", "kill", "--signal", "SIGKILL", self._name)
            except CommandError:
                self.process.kill()
            else:
                self.process.wait()

    def _spec(self, root: Path) -> dict[str, Any]:
        bound = [
            {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", mode]}
            for target, (source, mode) in self._mounts.items()
        ]
        system = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
        ]
        return {
            "ociVersion": "1.0.2",
            # No capability at all, no way to get one, and no network namespace: the node's.
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": self._argv,
                "cwd": "/",
                "env": ["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8"],
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "hostname": self._node.name,
            "mounts": [*system, *bound],
            "linux": {
                "cgroupsPath": f"/{self._node.namespace.name}",
                "namespaces": [{"type": one} for one in ("pid", "ipc", "uts", "mount")],
            },
        }
