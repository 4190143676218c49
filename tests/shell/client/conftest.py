from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from shell.client.scripted import Script, ScriptedRegistry
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.credentials import Anonymous, CredentialSource
from spegel_gossip.client.endpoint import endpoints_of
from spegel_gossip.client.progress import Outcome, Role
from spegel_gossip.client.pull import Puller
from spegel_gossip.client.push import Pusher
from spegel_gossip.client.session import Session
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import Platform
from spegel_gossip.oci.reference import Reference
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.stores.layout.writer import LayoutWriter

Start = Callable[[Script], Awaitable[ScriptedRegistry]]

CONFIG = ClientConfig(first_delay=0.001, max_delay=0.002, max_retry_after=2.0, chunk_bytes=100_000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start(nursery: trio.Nursery) -> Start:
    async def start(script: Script) -> ScriptedRegistry:
        registry = ScriptedRegistry(script)
        await nursery.start(registry.run)
        return registry

    return start


class Witness:
    """Hears what a client tells, and keeps it."""

    def __init__(self) -> None:
        self.outcomes: dict[Digest, Outcome] = {}
        self.offsets: dict[Digest, int] = {}
        self.by_source: dict[str, int] = {}
        self.restarted: list[Digest] = []
        self.waits: list[float] = []
        self.passed_over: list[str] = []

    def begin(self, blob: Descriptor, role: Role, *, offset: int) -> None:
        self.offsets[blob.digest] = offset

    def move(self, digest: Digest, count: int, source: str) -> None:
        self.by_source[source] = self.by_source.get(source, 0) + count

    def restart(self, digest: Digest) -> None:
        self.restarted.append(digest)

    def end(self, blob: Descriptor, role: Role, outcome: Outcome) -> None:
        self.outcomes[blob.digest] = outcome

    def wait(self, reason: str, delay: float) -> None:
        self.waits.append(delay)

    def pass_over(self, host: str, reason: str) -> None:
        self.passed_over.append(host)


class Bench:
    """A layout in a temporary directory, and a client that pulls into it and pushes from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.witness = Witness()
        self.credentials: CredentialSource = Anonymous()
        self.config = CONFIG
        self.store = LayoutStore(LayoutConfig(root=root))
        self.writer = LayoutWriter(root, time.time)

    async def pull(
        self,
        image: str,
        *,
        mirrors: tuple[str, ...] = (),
        platform: Platform | None = None,
        plain_http: bool = False,
    ) -> Descriptor:
        reference = Reference.parse(image)
        endpoints = endpoints_of(reference.registry, mirrors=mirrors, plain_http=plain_http)
        async with Session(self.config, self.credentials) as session:
            puller = Puller(session, self.store, self.writer, self.config, self.witness, random.Random(1))
            with trio.fail_after(30):
                return await puller.pull(reference, endpoints, platform)

    async def push(
        self, root: str, image: str, *, platform: Platform | None = None, mount_from: tuple[str, ...] = ()
    ) -> Descriptor:
        reference = Reference.parse(image)
        (endpoint,) = endpoints_of(reference.registry)
        async with Session(self.config, self.credentials) as session:
            pusher = Pusher(session, self.store, self.config, self.witness, random.Random(1))
            with trio.fail_after(30):
                return await pusher.push(
                    Digest.parse(root), reference, endpoint, platform=platform, mount_from=mount_from
                )

    def holds(self, digest: str) -> bool:
        algorithm, _, hexadecimal = digest.partition(":")
        return (self.root / "blobs" / algorithm / hexadecimal).is_file()


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "layout")
    await bench.writer.create()
    return bench
