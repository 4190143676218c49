"""The rings of the last minute: who decided about a key before those who own it now."""

from __future__ import annotations

from collections import deque
from typing import Final

from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.ring.ring import Ring

FORMER_INTERVAL: Final = 60.0
"""Seconds for which a ring that was replaced still says who decides while the new owners are young."""

MAX_FORMER_RINGS: Final = 4
"""Rings kept; at 1,000 members each takes 1.3 MB."""


class FormerRings:
    """The rings that one member worked by until a moment ago."""

    def __init__(self) -> None:
        """Know of none."""
        self._rings: deque[tuple[float, Ring]] = deque()

    def replaced(self, ring: Ring, now: float) -> None:
        """Keep a ring that is not worked by any more.

        Of too many the second oldest goes: that of a minute ago is the one that all members knew.
        """
        self._drop_old(now)
        self._rings.append((now + FORMER_INTERVAL, ring))
        if len(self._rings) > MAX_FORMER_RINGS:
            del self._rings[1]

    def owners(self, key: PackedKey, now: float) -> tuple[str, ...]:
        """Return the preference list of a key by the oldest of them; none if there is none."""
        self._drop_old(now)
        return self._rings[0][1].preference_list(token_of(key)) if self._rings else ()

    def _drop_old(self, now: float) -> None:
        while self._rings and self._rings[0][0] <= now:
            self._rings.popleft()
