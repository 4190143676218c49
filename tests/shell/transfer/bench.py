"""What the fixtures of this folder give, by type, and the stores that its tests begin with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobStream
from spegel_gossip.routing import Peer
from spegel_gossip.splice.delivery import Delivery
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
