"""Where the bytes of what arrived at this node came from: the registry, or other nodes.

Nobody tells us of the bytes that containerd fetched from the registry. They are what is left:
a blob that our mirror was asked for and that is here now, less what other nodes sent of it.
Blobs that came some other way (imported, built, there before) were not asked for, and do not count.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from spegel_gossip.oci.digest import Digest

MAX_ARRIVALS: Final = 4_096
"""Blobs remembered at once; an image has at most 128, and of what is forgotten no line is written."""


class Origin(StrEnum):
    """Where bytes came from."""

    UPSTREAM = "upstream"
    COMPLETE = "complete"
    """A node that had the whole blob."""

    PARTIAL = "partial"
    """A node that was still receiving it."""


PEERS: Final = (Origin.COMPLETE, Origin.PARTIAL)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of some blobs, all of them here."""

    digests: tuple[Digest, ...]
    """What came; the other blobs were here before."""

    by_origin: dict[Origin, int]
    """Bytes; together they are the sizes of those blobs."""

    begun_at: float
    ended_at: float

    @property
    def bytes(self) -> int:
        """Bytes in all."""
        return sum(self.by_origin.values())

    @property
    def from_peers(self) -> int:
        """Bytes that the registry did not send."""
        return sum(self.by_origin[origin] for origin in PEERS)


@dataclass(slots=True)
class _Arrival:
    begun_at: float
    received: Counter[Origin] = field(default_factory=Counter)
    streams: int = 0
    """Answers under way: what they brought is not counted before they end."""

    size: int | None = None
    """Once it is here."""

    ended_at: float = 0.0
    is_settled: bool = False
    is_told: bool = False

    def by_origin(self) -> dict[Origin, int]:
        """Share the blob's size out; what was sent twice or in vain counts once."""
        left, shares = self.size or 0, dict.fromkeys(Origin, 0)
        for origin in PEERS:
            shares[origin] = min(left, self.received[origin])
            left -= shares[origin]
        shares[Origin.UPSTREAM] = left
        return shares


class Arrivals:
    """The blobs that were asked of this node's mirror and not here."""

    def __init__(self) -> None:
        """Start with none."""
        self._arrivals: OrderedDict[Digest, _Arrival] = OrderedDict()
        self._untold = 0
        self.totals: Counter[Origin] = Counter()
        """Bytes of all blobs that arrived since the start."""

    @property
    def has_news(self) -> bool:
        """Whether anything was asked for of which `take` has not told yet."""
        return self._untold > 0

    def asked(self, digest: Digest, now: float) -> None:
        """A blob is asked for that is not here."""
        arrival = self._arrivals.get(digest)
        if arrival is None or arrival.is_settled:
            # Settled and asked for again: it was collected meanwhile.
            self._forget(digest)
            self._arrivals[digest] = _Arrival(now)
            self._untold += 1
            while len(self._arrivals) > MAX_ARRIVALS:
                self._forget(next(iter(self._arrivals)))

    def opened(self, digest: Digest) -> None:
        """An answer with bytes from other nodes begins."""
        if (arrival := self._arrivals.get(digest)) is not None:
            arrival.streams += 1

    def received(self, digest: Digest, count: int, origin: Origin) -> None:
        """Another node sent bytes."""
        arrival = self._arrivals.get(digest)
        if arrival is not None and not arrival.is_settled:
            arrival.received[origin] += count

    def given(self, digest: Digest, size: int) -> None:
        """All of it was handed on, some of it perhaps from memory: none of that is the registry's."""
        arrival = self._arrivals.get(digest)
        if arrival is not None and not arrival.is_settled:
            arrival.received[Origin.COMPLETE] += max(0, size - arrival.received.total())

    def closed(self, digest: Digest) -> None:
        """That answer has ended."""
        if (arrival := self._arrivals.get(digest)) is not None:
            arrival.streams = max(0, arrival.streams - 1)
            self._settle(arrival)

    def added(self, digest: Digest, size: int, now: float) -> None:
        """A blob is here, whole."""
        arrival = self._arrivals.get(digest)
        if arrival is not None and arrival.size is None:
            arrival.size, arrival.ended_at = size, now
            self._settle(arrival)

    def removed(self, digest: Digest) -> None:
        """A blob is gone."""
        self._forget(digest)

    def so_far(self, digests: Iterable[Digest]) -> dict[Origin, int]:
        """Return what has come of these: of those that are here all, of the others what nodes sent."""
        sums = dict.fromkeys(Origin, 0)
        for digest in dict.fromkeys(digests):
            arrival = self._arrivals.get(digest)
            if arrival is not None:
                shares = arrival.received if arrival.size is None else arrival.by_origin()
                for origin in Origin:
                    sums[origin] += shares[origin]
        return sums

    def take(self, digests: Iterable[Digest]) -> Arrived | None:
        """Tell, once, what came of an image's blobs; None while some are coming, or where none came."""
        news = self._news(digests)
        if not news or self.is_coming(news):
            return None
        sums = dict.fromkeys(Origin, 0)
        for arrival in news.values():
            arrival.is_told = True
            self._untold -= 1
            for origin, count in arrival.by_origin().items():
                sums[origin] += count
        begun_at = min(arrival.begun_at for arrival in news.values())
        return Arrived(tuple(news), sums, begun_at, max(arrival.ended_at for arrival in news.values()))

    def is_coming(self, digests: Iterable[Digest]) -> bool:
        """Return whether any of these was asked for and is not counted yet."""
        return not all(arrival.is_settled for arrival in self._news(digests).values())

    def _news(self, digests: Iterable[Digest]) -> dict[Digest, _Arrival]:
        known = {digest: self._arrivals.get(digest) for digest in digests}
        return {
            digest: arrival
            for digest, arrival in known.items()
            if arrival is not None and not arrival.is_told
        }

    def _settle(self, arrival: _Arrival) -> None:
        if arrival.size is not None and arrival.streams == 0 and not arrival.is_settled:
            arrival.is_settled = True
            self.totals.update(arrival.by_origin())

    def _forget(self, digest: Digest) -> None:
        arrival = self._arrivals.pop(digest, None)
        if arrival is not None and not arrival.is_told:
            self._untold -= 1
