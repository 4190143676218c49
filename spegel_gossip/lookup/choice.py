"""Which holder to try first: near, not busy, not known to be unreachable.

Two at random and the better of them: that spreads load almost as well as knowing
everybody's, and a holder who was fast once is not run down by all at once.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.backoff import backoff
from spegel_gossip.routing import Peer

MIN_SKIP: Final = 10.0
"""Seconds a holder is not named here after a failed connection; doubles with each that follows."""

MAX_SKIP: Final = 30.0

ASSUMED_TRANSFER: Final = 10.0
"""Seconds after which a transfer whose end nobody reported is taken to be over."""

MAX_REMEMBERED: Final = 4_096
"""Holders remembered; the one not heard of for longest is forgotten first."""

_RATE_WEIGHT = 0.3
"""Weight of the latest transfer in a holder's rate."""

_MAX_IN_FLIGHT = 256


@dataclass(slots=True)
class _Experience:
    """What this node has seen of one holder."""

    rate: float | None = None
    """Bytes a second, the latest transfers weighing most."""
    started_at: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_IN_FLIGHT))
    failures: int = 0
    skipped_until: float = 0.0


class HolderChoice:
    """Puts holders in the order in which they should be tried."""

    def __init__(self, *, zone: str, rng: random.Random) -> None:
        self._zone = zone
        self._rng = rng
        self._seen: OrderedDict[str, _Experience] = OrderedDict()

    def order(self, peers: Sequence[Peer], now: float) -> list[Peer]:
        """Return the holders worth trying, best first; none where all are skipped."""
        usable = [peer for peer in peers if self._of(peer.name).skipped_until <= now]
        near = [peer for peer in usable if peer.zone == self._zone]
        far = [peer for peer in usable if peer.zone != self._zone]
        return self._better_of_two(near, now) + self._better_of_two(far, now)

    def started(self, name: str, now: float) -> None:
        """Count a transfer from a holder as begun."""
        self._experience(name).started_at.append(now)

    def transferred(self, name: str, *, moved_bytes: int, seconds: float) -> None:
        """Count a transfer as over, and remember how fast it was."""
        seen = self._ended(name)
        seen.failures, seen.skipped_until = 0, 0.0
        if seconds > 0 and moved_bytes > 0:
            rate = moved_bytes / seconds
            seen.rate = rate if seen.rate is None else seen.rate + _RATE_WEIGHT * (rate - seen.rate)

    def missed(self, name: str) -> None:
        """Count a transfer as over that never began: the holder answered that it has nothing."""
        self._ended(name)

    def failed(self, name: str, now: float) -> None:
        """Skip a holder for a while: connecting to it failed."""
        seen = self._ended(name)
        seen.skipped_until = now + backoff(seen.failures, first=MIN_SKIP, longest=MAX_SKIP)
        seen.failures += 1

    def forget(self, name: str) -> None:
        """Drop what was seen of a holder: it lives a new boot, at another address perhaps."""
        self._seen.pop(name, None)

    def _better_of_two(self, peers: list[Peer], now: float) -> list[Peer]:
        left = list(peers)
        self._rng.shuffle(left)
        ordered = []
        while left:
            # Shuffled, so the last two are two at random.
            if len(left) > 1 and self._load(left[-2], now) < self._load(left[-1], now):
                left[-1], left[-2] = left[-2], left[-1]
            ordered.append(left.pop())
        return ordered

    def _load(self, peer: Peer, now: float) -> tuple[int, float]:
        """Return transfers in flight, then slowness; one not tried yet counts as fast."""
        seen = self._of(peer.name)
        while seen.started_at and seen.started_at[0] + ASSUMED_TRANSFER <= now:
            seen.started_at.popleft()
        return len(seen.started_at), 0.0 if seen.rate is None else 1.0 / seen.rate

    def _of(self, name: str) -> _Experience:
        return self._seen.get(name) or _Experience()

    def _ended(self, name: str) -> _Experience:
        seen = self._experience(name)
        if seen.started_at:
            seen.started_at.popleft()
        return seen

    def _experience(self, name: str) -> _Experience:
        seen = self._seen.setdefault(name, _Experience())
        self._seen.move_to_end(name)
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return seen
