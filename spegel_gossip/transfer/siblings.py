"""The streams of one blob that are open at once.

containerd from 2.1 on may fetch a blob as several open-ended ranges. They are one
download: holders are looked up once for all of them and shared out among them, and
when sources run out they must end in order. Seen on 2.1.4: FIN on a later range while
an earlier one is open fails the pull; FIN on the lowest, then 404 to the re-open,
makes it go on upstream.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Holders

HOLDERS_KEPT: Final = 10.0
"""Seconds for which a range that begins later goes by the lookup of the one before."""

FIN_GAP: Final = 0.1
"""Seconds between the ends of two streams: a stream ends before its connection does, and the client
must see the connections end in order."""


@dataclass(eq=False, slots=True)
class Sibling:
    """One stream among those of its blob."""

    start: int
    family: Family
    holder: str = ""
    """Who sends now; empty while nobody does."""

    is_open_range: bool = False
    """Whether it may be one range of several that nobody said the end of."""

    def next_start(self, offset: int) -> int | None:
        """Return where the next stream after an offset begins: there this one is likely to be closed."""
        return min((other.start for other in self.family.members if other.start > offset), default=None)

    async def wait_for_turn(self) -> None:
        """Return when no stream of the blob is open that began at a lower offset, and none ended just now."""
        while any(other.start < self.start for other in self.family.members):
            await self.family.changed.wait()
        await trio.sleep_until(self.family.ended_at + FIN_GAP)


@dataclass(eq=False, slots=True)
class Family:
    """The open streams of one blob."""

    members: dict[Sibling, None] = field(default_factory=dict)
    changed: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, when a stream ends."""

    ended_at: float = -math.inf
    """When the last one did."""

    _looking: trio.Lock = field(default_factory=trio.Lock)
    _holders: Holders | None = None
    _found_at: float = 0.0

    @property
    def known_holders(self) -> Holders | None:
        """What a lookup for one of the streams found, while it is fresh."""
        return self._holders if trio.current_time() < self._found_at + HOLDERS_KEPT else None

    async def find(self, look_up: Callable[[], Awaitable[Holders]]) -> Holders:
        """Return what is known, or look it up for all streams: who comes meanwhile waits for the same.

        Raises:
            RoutingError: the lookup raised it; whoever waited for it looks for itself.
        """
        async with self._looking:
            return self.known_holders or await self.find_anew(look_up)

    async def find_anew(self, look_up: Callable[[], Awaitable[Holders]]) -> Holders:
        """Look it up for a stream whose holders failed, and for those that begin next.

        Raises:
            RoutingError: the lookup raised it.
        """
        started_at = trio.current_time()
        self._holders, self._found_at = await look_up(), started_at
        return self._holders

    def loads(self) -> Counter[str]:
        """Return how many of the streams each holder serves."""
        return Counter(member.holder for member in self.members)


class Families:
    """All blobs that are being fetched now; as many as there are requests, which the server bounds."""

    def __init__(self) -> None:
        """Start with none."""
        self._families: dict[Digest, Family] = {}

    def join(self, digest: Digest, start: int, *, is_open_range: bool = False) -> Sibling:
        """Count a stream as open until it leaves."""
        family = self._families.setdefault(digest, Family())
        sibling = Sibling(start, family, is_open_range=is_open_range)
        family.members[sibling] = None
        return sibling

    def leave(self, digest: Digest, sibling: Sibling) -> None:
        """Count a stream as ended; a second time does nothing."""
        family = sibling.family
        family.members.pop(sibling, None)
        family.ended_at = trio.current_time()
        family.changed.set()
        family.changed = trio.Event()
        if not family.members and self._families.get(digest) is family:
            del self._families[digest]
