"""How long a request of containerd's may wait for its first byte, and when it gives its slot back.

containerd's transfer service has three slots for all its requests, and a request that was
answered 404 goes upstream only when a slot is free. Nodes that hold each other's layers in
all their slots would wait for ever, so a node whose own lease has no byte yet gives slots
back: 200, and the end before the first byte. containerd asks again, and stands that three times.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

from spegel_gossip.oci.digest import Digest

HOLD_TIMEOUT: Final = 0.3
"""Seconds a request is held while a lease of this node waits for its first byte."""

URGENT_AFTER: Final = 12.0
"""Seconds after which an asker says that it cannot wait any longer.

Only one whose request is the last: while containerd would bear another answer without a byte
the slot is given back, containerd asks again, and a slow registry is not asked a second time.
"""

MAX_YIELDS: Final = 2
"""Times a blob's request gives its slot back; containerd stands three answers without a byte."""

YIELD_MEMORY: Final = 60.0
"""Seconds after which a slot given back counts no more: that pull is over."""

MAX_REMEMBERED: Final = 1_024

STEP_PATIENCE: Final = 2.5
"""Seconds that a child waits for a byte of a parent next to upstream: a lease's own, and half a second."""

DEPTH_PATIENCE: Final = 0.25
"""Seconds more for each node in between, so that the one nearest to a fault acts first."""

DRIP_FRACTION: Final = 0.125
"""Of the best that one request saw of growing sources: below it they may be at fault, whatever drips in."""

DRIP_RATE: Final = 500_000.0
"""Bytes a second that are no drip, however fast it was before: a line that many share gives each a part.

At less, a lease holder makes no step of 1 MiB in the 2 s that its lease bears.
"""

LAG_PATIENCE: Final = 10.0
"""Seconds that may be missing to `DRIP_RATE` where nothing was ever faster.

The registry may be what is slow, and then the owner names the same source again. It may be the source's line,
of which the owner has heard meanwhile: another fetches it, or has it all.
"""

MAX_DRIP_FACTOR: Final = 4
"""Times that the patience with a drip grows to at most: whole copies may have come to be meanwhile."""

RATE_SAMPLE: Final = 1.0
"""Seconds of waiting over which a rate is taken: a step that was there already comes at any rate."""


def stall_patience(depth: int) -> float:
    """Return the seconds without a byte after which a growing source at this depth is left."""
    return STEP_PATIENCE + DEPTH_PATIENCE * min(depth, 32)


class Yields:
    """How often each blob's request gave its slot back, of late."""

    def __init__(self) -> None:
        self._yielded: OrderedDict[Digest, tuple[int, float, float]] = OrderedDict()
        """How often, until when that counts, and when it was first."""

    def count(self, digest: Digest, now: float) -> int:
        """Return how often it did."""
        count, until, _ = self._yielded.get(digest, (0, 0.0, 0.0))
        return count if now < until else 0

    def may_yield(self, digest: Digest, now: float) -> bool:
        """Return whether it may do so once more."""
        return self.count(digest, now) < MAX_YIELDS

    def last_at(self, digest: Digest, now: float) -> float | None:
        """Return when it last did so; None if it did not, of late."""
        _, until, _ = self._yielded.get(digest, (0, 0.0, 0.0))
        return until - YIELD_MEMORY if now < until else None

    def hold_timeout(self, digest: Digest, usual: float, now: float) -> float:
        """Return the seconds that an answer which begins now may take for its first byte.

        The last one that containerd would bear has what the one before it left of its time: where a slow
        registry has given no byte yet, answers that gave a slot back at once were no time to wait in.
        """
        if self.may_yield(digest, now):
            return usual
        _, _, since = self._yielded[digest]
        return max(usual, MAX_YIELDS * usual - (now - since))

    def yielded(self, digest: Digest, now: float) -> None:
        """Count one."""
        count = self.count(digest, now) + 1
        _, _, since = self._yielded.pop(digest, (0, 0.0, now))
        self._yielded[digest] = (count, now + YIELD_MEMORY, now if count == 1 else since)
        if len(self._yielded) > MAX_REMEMBERED:
            self._yielded.popitem(last=False)

    def began(self, digest: Digest) -> None:
        """Forget a blob's: a byte came."""
        self._yielded.pop(digest, None)


class Doubt(Enum):
    """Why the owner is to be asked about a source from which bytes come."""

    BEHIND = "behind"
    """Far less comes than came before: unless it has no more to send, it is at fault."""

    LAG = "lag"
    """Little comes, and nothing came faster: it may be the registry, its line, or the asker's own."""


class Drip:
    """How far growing sources of one request fall behind the rate at which its bytes came before.

    Bytes that drip in keep a request from ever being silent, and whoever reads would crawl with a lease
    holder whose line is bad. The owner knows better: it has seen whether the holder still grows. It may
    well name the same source again, so the patience doubles, up to a bound.
    """

    def __init__(self) -> None:
        """Know no rate: whatever drips in may be all that there is."""
        self._best = 0.0
        self._waited = 0.0
        self._moved = 0
        self._behind = 0.0
        """Seconds that are missing to what came before."""
        self._lag = 0.0
        """Seconds that are missing to what is no drip, whatever came before."""
        self._factor = 1

    def begin(self) -> None:
        """Begin with a source, which is not judged by the one before it."""
        self._behind = self._lag = self._waited = 0.0
        self._moved = 0

    def left(self, moved: int, *, seconds: float) -> None:
        """Take in what a source gave in all, in so many seconds, those in which nobody waited for it too.

        Of one that was fast there is little waiting, which makes no sample.
        """
        self._best = max(self._best, moved / max(seconds, RATE_SAMPLE))

    def came(self, moved: int, *, waited: float, patience: float) -> Doubt | None:
        """Count what came; return why the owner should be asked again, if it should.

        Args:
            moved: bytes since the last time
            waited: seconds for which the source was waited for since then
            patience: seconds of silence that the source may have
        """
        self._waited += waited
        self._moved += moved
        if self._waited >= RATE_SAMPLE:
            self._best = max(self._best, self._moved / self._waited)
            self._waited, self._moved = 0.0, 0
        self._behind = _missing(self._behind, moved, waited, min(self._best * DRIP_FRACTION, DRIP_RATE))
        self._lag = _missing(self._lag, moved, waited, DRIP_RATE)
        is_behind = self._behind >= patience * self._factor
        if not is_behind and self._lag < LAG_PATIENCE * self._factor:
            return None
        self._factor = min(self._factor * 2, MAX_DRIP_FACTOR)
        return Doubt.BEHIND if is_behind else Doubt.LAG


def _missing(before: float, moved: int, waited: float, rate: float) -> float:
    """Return the seconds that are missing to a rate in bytes a second, after some more of them."""
    return max(0.0, before + waited - moved / rate) if rate else 0.0
