"""What the fixtures of this folder give, by type, and the stores that its tests begin with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobStream
from spegel_gossip.routing import Peer
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, ScriptedHolder
from spegel_gossip.testing.memory_store import MemoryStore

Blob: TypeAlias = Callable[[int], bytes]
ServeStore: TypeAlias = Callable[[str, ContentStore], Awaitable[Peer]]
ScriptHolder: TypeAlias = Callable[[str, Callable[[str], RawAnswer | None]], ScriptedHolder]
Consume: TypeAlias = Callable[[BlobStream], Awaitable[tuple[Delivery, bytes]]]


def holding(data: bytes) -> MemoryStore:
    """Return a store that holds one blob."""
    store = MemoryStore()
    store.add_blob(data)
    return store


def answer(
    data: bytes, head: str, *, given: int | None = None, piece: int = 0, pause: float = 0
) -> RawAnswer:
    """The answer of a holder of `data`, in pieces if so wanted, to a request with a Range or without."""
    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n") if ": " in line)
    first, _, last = lines.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1, len(data)) if last else len(data)
    headers = {"Content-Length": str(stop - start)}
    if "range" in lines:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    body = data[start:stop] if given is None else data[start : start + given]
    then = Then.STALL if given is None else Then.CLOSE
    return RawAnswer(206 if "range" in lines else 200, headers, body, then, piece, pause)


def is_paced(rate: int, data: bytes) -> Callable[[str], RawAnswer]:
    return lambda head: answer(data, head, piece=rate // 20, pause=0.05)
