"""A containerd with its own root, state and socket, inside a node's namespace, and ctr to drive it."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.images import Blob
from lab.network import Namespace
from lab.process import CommandError, Process, run, tail, wait_until

START_TIMEOUT = 20.0
PULL_TIMEOUT = 60.0
TOOLS = Path(__file__).resolve().parents[2] / ".tools"
"""Where scripts/build-containerd leaves the versions it builds."""

_HASH_STEP = 4 * 1024 * 1024

# What kubelets drive: left out unless a test is about it, since it costs each start half a second.
_CRI = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
    "io.containerd.sandbox.controller.v1.shim",
)

# Plugins that want what a namespace has not (a CNI, a block device), or that nothing here uses.
_NOT_WANTED = (
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
)


class ContainerdMissingError(RuntimeError):
    """This version of containerd is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class ContainerdBuild:
    """The programs of one version."""

    version: str
    daemon: Path
    ctr: Path

    @property
    def has_transfer_service(self) -> bool:
        """Whether `ctr images pull` goes through the transfer service unless told `--local` (from 2.1)."""
        major, minor = self.version.split(".")[:2]
        return (int(major), int(minor)) >= (2, 1)

    @property
    def locally(self) -> list[str]:
        """The flag for `ctr images import` and `export`: by its streams, archives come out short."""
        return ["--local"] if self.has_transfer_service else []


SYSTEM = Path("/usr/bin/containerd")


def containerd_versions() -> dict[str, ContainerdBuild]:
    """The versions found here: the system's, and those below `.tools/`, by version number."""
    found: dict[str, ContainerdBuild] = {}
    daemons = [*sorted(TOOLS.glob("containerd-*/containerd")), SYSTEM]
    for daemon in daemons:
        if daemon.exists() and daemon.with_name("ctr").exists():
            version = re.search(r"\b(\d+\.\d+\.\d+)", run(str(daemon), "--version"))
            if version:
                found.setdefault(version[1], ContainerdBuild(version[1], daemon, daemon.with_name("ctr")))
    return found


def containerd_build(version: str) -> ContainerdBuild:
    """The programs of one version, or of the system's own for "debian".

    Raises:
        ContainerdMissingError: they are not here.
    """
    found = containerd_versions()
    if version == "debian":
        version = next((one for one, build in found.items() if build.daemon == SYSTEM), version)
    if version not in found:
        system = version in {"debian", "1.6.20"}
        remedy = "apt-get install containerd" if system else f"scripts/build-containerd {version}"
        raise ContainerdMissingError(f"containerd {version} is not here ({', '.join(found)} are): {remedy}")
    return found[version]


class Containerd:
    """One containerd process and what it has on disk; what it has survives `stop` and `kill`."""

    def __init__(self, build: ContainerdBuild, namespace: Namespace, directory: Path, hosts: Path) -> None:
        self.build = build
        self.namespace = namespace
        self.root = directory / "containerd"
        self.socket = directory / "run" / "containerd.sock"
        self.log = directory / "containerd.log"
        self.more_config = ""
        """TOML that is added to its configuration at the next start."""

        self.has_cri = False
        """Whether it has the CRI plugin from the next start on, with the node's hosts directory."""

        self._hosts = hosts
        self._config = directory / "containerd.toml"
        self._state = directory / "run" / "state"
        self._process: Process | None = None

    @property
    def content(self) -> Path:
        """Where its content store is on disk."""
        return self.root / "io.containerd.content.v1.content"

    def begin_start(self) -> None:
        """Start the process without waiting for it; several containerds start at the same time so."""
        if self._process is not None:
            return
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        version = 2 if self.build.version.startswith("1.") else 3
        left_out = _NOT_WANTED if self.has_cri else (*_CRI, *_NOT_WANTED)
        not_wanted = ", ".join(f'"{name}"' for name in left_out)
        self._config.write_text(
            f'version = {version}\nroot = "{self.root}"\nstate = "{self._state}"\n'
            f'disabled_plugins = [{not_wanted}]\n[grpc]\n  address = "{self.socket}"\n'
            '[debug]\n  level = "warn"\n' + self._cri_config() + self.more_config
        )
        argv = self.namespace.argv(str(self.build.daemon), "--config", str(self._config))
        self._process = Process(argv, log=self.log)

    def _cri_config(self) -> str:
        if not self.has_cri:
            return ""
        plugin = "io.containerd.grpc.v1.cri" if self.build.version.startswith("1.") else _CRI[1]
        return f'[plugins."{plugin}".registry]\n  config_path = "{self._hosts}"\n'

    def wait_ready(self) -> None:
        """Wait until it answers ctr."""
        process = self._process
        if process is None:
            raise RuntimeError("containerd was not started")
        wait_until(
            self.is_answering,
            what=f"containerd {self.build.version} to answer",
            timeout=START_TIMEOUT,
            logs=[self.log],
            still_possible=process.is_running,
        )

    def start(self) -> None:
        """Start it and wait until it answers; nothing happens when it runs."""
        self.begin_start()
        self.wait_ready()

    def is_answering(self) -> bool:
        """Whether its socket answers."""
        if not self.socket.exists():
            return False
        try:
            self.ctr("version")
        except CommandError:
            return False
        return True

    def stop(self) -> None:
        """SIGTERM, as a service manager does; nothing happens when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """SIGKILL; its socket stays behind and refuses connections."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def ctr(self, *arguments: str, timeout: float = PULL_TIMEOUT) -> str:
        """Run ctr on the namespace k8s.io, from inside the node, and return what it printed."""
        return run(*self._ctr_argv(*arguments), timeout=timeout)

    def pull(
        self,
        reference: str,
        *,
        local: bool = False,
        arguments: Sequence[str] = (),
        hosts: Path | None = None,
        timeout: float = PULL_TIMEOUT,
    ) -> None:
        """Pull and unpack an image through hosts.toml: by the transfer service where there is one.

        Args:
            local: not by the transfer service
            arguments: further flags of ctr
            hosts: another hosts directory than the node's

        Raises:
            CommandError: the pull failed.
        """
        run(*self._pull_argv(reference, local, arguments, hosts), timeout=timeout)

    def begin_pull(
        self, reference: str, *, log: Path, local: bool = False, arguments: Sequence[str] = ()
    ) -> Process:
        """Start a pull and return the process of ctr; its status is 0 when the pull succeeded."""
        return Process(self._pull_argv(reference, local, arguments), log=log)

    def fetch(self, reference: str, *, timeout: float = PULL_TIMEOUT) -> None:
        """Pull without unpacking, for what is no image: charts, signatures, artifacts."""
        arguments = ("content", "fetch", "--all-platforms", "--hosts-dir", str(self._hosts), reference)
        self.ctr(*arguments, timeout=timeout)

    def ingest(self, blob: Blob) -> None:
        """Put a blob into its content, as an import does, and keep it from being collected."""
        argv = self._ctr_argv("content", "ingest", "--expected-digest", blob.digest, f"lab-{blob.digest}")
        run(*argv, input_text=b"".join(blob.chunks()).decode())
        self.ctr("content", "label", blob.digest, "containerd.io/gc.root=1")

    def remove(self, *references: str) -> None:
        """Remove images, and collect what only they needed."""
        self.ctr("images", "rm", "--sync", *references)

    def images(self) -> list[str]:
        """The names of its images."""
        return self.ctr("images", "ls", "-q").split()

    def digests(self) -> frozenset[str]:
        """What its content store lists."""
        return frozenset(self.ctr("content", "ls", "-q").split())

    def blob_path(self, digest: str) -> Path:
        """Where a blob is on disk once it is complete."""
        algorithm, _, encoded = digest.partition(":")
        return self.content / "blobs" / algorithm / encoded

    def wrong_digests(self, digests: Iterable[str]) -> list[str]:
        """Which of these it does not list, or has on disk with other bytes than their digest says."""
        listed = self.digests()
        return sorted(one for one in digests if one not in listed or self._digest_on_disk(one) != one)

    def ingested_bytes(self) -> int:
        """Bytes of blobs that are arriving right now, as far as containerd has written them."""
        return sum(_size(path) for path in self.content.glob("ingest/*/data"))

    def cpu_seconds(self) -> float:
        """Processor time that it has taken since its start."""
        return 0.0 if self._process is None else self._process.cpu_seconds()

    def describe(self) -> str:
        """Its version and the end of its log."""
        return f"containerd {self.build.version}\n{tail(self.log)}"

    def delete(self) -> None:
        """End it and remove what it had."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def _ctr_argv(self, *arguments: str) -> list[str]:
        return self.namespace.argv(
            str(self.build.ctr), "--address", str(self.socket), "--namespace", "k8s.io", *arguments
        )

    def _pull_argv(
        self, reference: str, local: bool, arguments: Sequence[str] = (), hosts: Path | None = None
    ) -> list[str]:
        ways = ["--local"] if local and self.build.has_transfer_service else []
        hosts_dir = str(hosts or self._hosts)
        return self._ctr_argv("images", "pull", *ways, "--hosts-dir", hosts_dir, *arguments, reference)

    def _digest_on_disk(self, digest: str) -> str:
        whole = hashlib.new(digest.partition(":")[0])
        with self.blob_path(digest).open("rb") as file:
            while chunk := file.read(_HASH_STEP):
                whole.update(chunk)
        return f"{whole.name}:{whole.hexdigest()}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
