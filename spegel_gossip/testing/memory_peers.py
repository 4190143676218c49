"""Other nodes that live in memory: a router that knows them and a fetcher that gets what they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import Holders, Key, NoHolderError, OwnersUnreachableError, Purpose, TagHolders
from spegel_gossip.testing.blob_sources import ScriptedSource, ScriptedStream

WHOLE = (ScriptedSource(),)
"""One source that sends everything."""

STALL_TIMEOUT = 10.0
"""Seconds: a loaded test machine must not look like a stalled source."""


class MemoryRouter:
    """A Router over a table; remembers what it was told."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.is_reachable = True
        self.tags: dict[TagName, TagHolders] = {}
        self.looked_ahead: list[tuple[Digest, ...]] = []
        self.swarmed: list[tuple[Digest, ...]] = []
        """The children that it was told of and need not look up."""

        self.told: list[tuple[TagName, float | None]] = []
        """The calls of `tag_answered`."""

        self.observed: dict[tuple[TagName, Digest], float | None] = {}
        """What `tag_observed_at` returns."""

    def add_tag(self, name: TagName, digest: Digest, *, observed_at: float) -> None:
        """Let the cluster know a tag."""
        self.tags[name] = TagHolders(name, digest, observed_at, ())

    async def lookup(self, digest: Digest, purpose: Purpose) -> Holders:  # noqa: ARG002 - the port's
        """Know of no blob: a `MemoryFetcher` does not ask."""
        await trio.lowlevel.checkpoint()
        raise self._failure(digest)

    async def lookup_tag(self, name: TagName) -> TagHolders:
        """Return what was added."""
        await trio.lowlevel.checkpoint()
        if name not in self.tags or not self.is_reachable:
            raise self._failure(name)
        return self.tags[name]

    def lookup_ahead(self, parts: Mapping[Digest, int], *, has_ingests: bool = False) -> None:
        """Remember the batch."""
        (self.swarmed if has_ingests else self.looked_ahead).append(tuple(parts))

    def tag_answered(self, name: TagName, observed_at: float | None) -> None:
        """Remember the answer."""
        self.told.append((name, observed_at))

    def tag_observed_at(self, name: TagName, digest: Digest) -> float | None:
        """Return what a test says of it."""
        return self.observed.get((name, digest), 0.0)

    def report_miss(self, digest: Digest, holder: str) -> None:
        """Nobody draws a conclusion here."""

    def report_unreachable(self, holder: str) -> None:
        """Nobody draws a conclusion here."""

    def report_transfer(self, holder: str, *, moved_bytes: int, seconds: float) -> None:
        """Nobody draws a conclusion here."""

    def _failure(self, key: Key) -> NoHolderError | OwnersUnreachableError:
        return NoHolderError(key) if self.is_reachable else OwnersUnreachableError(key)


class MemoryFetcher:
    """A BlobFetcher whose other nodes have what a test gave them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """Know of nothing; the nursery runs the senders."""
        self.asked: list[Digest] = []
        """The digests that other nodes were asked for, whatever came of it."""

        self.leasable: list[Digest] = []
        """Those of them whose failure would have let this node fetch them from upstream."""

        self.spreading: dict[Digest, None] = {}
        """What this node's client has open ingests of."""

        self.streams: list[ScriptedStream] = []
        self.failure: Callable[[Digest], Exception] = NoHolderError
        """What is raised for what nobody has."""

        self._nursery = nursery
        self._blobs: dict[Digest, tuple[bytes, Sequence[ScriptedSource]]] = {}

    def add_blob(
        self, data: bytes, *, digest: Digest | None = None, sources: Sequence[ScriptedSource] = WHOLE
    ) -> Digest:
        """Let another node have a blob, sent as `sources` say."""
        digest = digest or Digest.of(data)
        self._blobs[digest] = (data, sources)
        return digest

    async def open(
        self,
        digest: Digest,
        *,
        start: int = 0,
        stop: int | None = None,
        is_range: bool = False,  # noqa: ARG002 - the port's
    ) -> ScriptedStream:
        """Begin to send a part of a blob."""
        data, sources = await self._find(digest)
        if start and start >= len(data):
            raise InvalidRangeError(f"bytes={start}-", len(data))
        end = len(data) if stop is None else min(stop, len(data))
        stream = ScriptedStream(
            data, sources, self._nursery, start=start, stop=end, stall_timeout=STALL_TIMEOUT
        )
        self.streams.append(stream)
        return stream

    async def spreads(self, digest: Digest) -> bool:
        """Return what a test says of it."""
        await trio.lowlevel.checkpoint()
        return digest in self.spreading

    async def size(self, digest: Digest) -> int:
        """Return the size of a blob."""
        data, _ = await self._find(digest)
        return len(data)

    async def fetch_manifest(self, digest: Digest, *, may_lease: bool = True) -> bytes:
        """Return the bytes of a blob."""
        data, _ = await self._find(digest, may_lease=may_lease)
        return data

    async def _find(
        self, digest: Digest, *, may_lease: bool = True
    ) -> tuple[bytes, Sequence[ScriptedSource]]:
        await trio.lowlevel.checkpoint()
        self.asked.append(digest)
        if may_lease:
            self.leasable.append(digest)
        if digest not in self._blobs:
            raise self.failure(digest)
        return self._blobs[digest]
