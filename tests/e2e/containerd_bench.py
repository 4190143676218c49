"""The hands of the store conformance suite on a real containerd."""

import io
import json
import socket
import struct
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
import trio

from lab import images
from lab.containerd import Containerd
from shell.stores.conformance import Witness, content_of
from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.service import ContainerdService
from spegel_gossip.stores.containerd.store import ContainerdStore

NAMESPACE = "k8s.io"
ABORT_ATTEMPTS = 5
CREDENTIALS = struct.Struct("3i")  # struct ucred: unix(7)


def config_of(containerd: Containerd, directory: Path) -> ContainerdConfig:
    """A store's configuration; its socket is a link of its own, which can go while ctr's stays."""
    link = directory / "containerd.sock"
    link.symlink_to(containerd.socket)
    return ContainerdConfig(
        address=link,
        root=containerd.root,
        namespace=NAMESPACE,
        call_timeout=5.0,
        ping_interval=0.3,
        max_retry_interval=1.0,
    )


def ctr_argv(containerd: Containerd, *arguments: str, namespace: str = NAMESPACE) -> list[str]:
    ctr, socket = str(containerd.build.ctr), str(containerd.socket)
    return [ctr, "--address", socket, "--namespace", namespace, *arguments]


async def ctr(
    containerd: Containerd, *arguments: str, data: bytes | None = None, namespace: str = NAMESPACE
) -> None:
    await trio.run_process(
        ctr_argv(containerd, *arguments, namespace=namespace),
        stdin=b"" if data is None else data,
        capture_stdout=True,
    )


def write_archive(path: Path, artifact: images.Artifact, name: str) -> None:
    """Write an OCI archive that `ctr images import` takes under that name."""
    root = artifact.root.descriptor(annotations={"io.containerd.image.name": name})
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [root]}).encode(),
    }
    for blob in (*artifact.manifests, *artifact.blobs):
        files[f"blobs/sha256/{Digest.parse(blob.digest).hex}"] = content_of(blob)
    with tarfile.open(path, "w") as archive:
        for file_name, data in files.items():
            entry = tarfile.TarInfo(file_name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@dataclass
class CtrIngest:
    """`ctr content ingest`, fed by hand."""

    process: subprocess.Popen[bytes]
    config: ContainerdConfig
    ref: str

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    async def write(self, data: bytes) -> None:
        await trio.to_thread.run_sync(self._input.write, data)
        await trio.to_thread.run_sync(self._input.flush)

    async def commit(self) -> None:
        self._input.close()
        assert await trio.to_thread.run_sync(self.process.wait) == 0

    async def keep(self) -> None:
        self.process.kill()
        self._input.close()
        await trio.to_thread.run_sync(self.process.wait)

    async def abort(self) -> None:
        await self.keep()
        service = ContainerdService(self.config)
        # containerd goes on closing the writer of a client that died, into the directory that it is
        # to remove ("directory not empty", seen on 2.2.6): the next attempt finds it at rest.
        for _ in range(ABORT_ATTEMPTS):
            with suppress(ContentStoreUnavailableError):
                await trio.to_thread.run_sync(service.abort, self.ref)
                break
        else:
            pytest.fail(f"containerd does not abort {self.ref}")
        service.close()


@dataclass
class ContainerdBench:
    """A store over a containerd of the lab."""

    containerd: Containerd
    seed: int
    directory: Path
    config: ContainerdConfig
    witness: Witness = field(default_factory=Witness)

    def __post_init__(self) -> None:
        self.store = ContainerdStore(self.config)
        self.children: list[subprocess.Popen[bytes]] = []

    async def put_image(self, artifact: images.Artifact, name: TagName) -> None:
        archive = self.directory / "image.tar"
        write_archive(archive, artifact, str(name))
        await self._import(archive)

    async def _import(self, archive: Path) -> None:
        ways = [*self.containerd.build.locally, "--all-platforms", "--no-unpack"]
        await ctr(self.containerd, "images", "import", *ways, str(archive))

    async def remove_image(self, name: TagName) -> None:
        await ctr(self.containerd, "images", "rm", "--sync", str(name))

    async def put_blob(self, data: bytes) -> None:
        digest = str(Digest.of(data))
        sizes = ["--expected-size", str(len(data)), "--expected-digest", digest]
        await ctr(self.containerd, "content", "ingest", *sizes, f"layer-{digest}", data=data)

    async def remove_blob(self, digest: Digest) -> None:
        await ctr(self.containerd, "content", "rm", str(digest))
        # containerd unlinks the file when it next collects; `images rm --sync` of a throw-away
        # image is the way to make it do so now.
        await self.collect()

    async def collect(self) -> None:
        archive = self.directory / "throw-away.tar"
        name = TagName("registry.test", "throw-away", f"v{self.seed}")
        await trio.to_thread.run_sync(write_archive, archive, images.artifact(self.seed ^ 1), str(name))
        await self._import(archive)
        await self.remove_image(name)

    async def begin_ingest(self, digest: Digest, total: int) -> CtrIngest:
        ref = f"layer-{digest}"
        sizes = ["--expected-size", str(total), "--expected-digest", str(digest)]
        argv = ctr_argv(self.containerd, "content", "ingest", *sizes, ref)
        return CtrIngest(self._start(argv), self.config, ref)

    def _start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE)
        self.children.append(process)
        return process

    async def lose(self) -> None:
        self.containerd.kill()
        await self.witness.until(lambda: not self.store.availability().is_connected)

    async def regain(self) -> None:
        # From this thread: a child of the lab dies with the thread that started it.
        self.containerd.begin_start()
        await trio.to_thread.run_sync(self.containerd.wait_ready)

    async def hide_socket(self) -> None:
        """Let the store lose a containerd that goes on running for everybody else."""
        self.config.address.unlink()
        await self.lose()
        await self.regain()

    def show_socket(self) -> None:
        self.config.address.symlink_to(self.containerd.socket)

    def pid(self) -> int:
        """The process at the other end of the socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.containerd.socket))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, _, _ = CREDENTIALS.unpack(credentials)
        return int(pid)

    def end(self) -> None:
        for process in self.children:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
