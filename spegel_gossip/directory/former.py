"""The ring of a minute ago: who decided about a key before those who own it now.

Who was not there a minute ago knows of none: what it took for the ring as it began, when it
knew nobody, would have it decide for itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.ring.ring import Ring

FORMER_INTERVAL: Final = 60.0
"""Seconds ago at which the ring counts that says who decides while the new owners are young."""

SETTLED_INTERVAL: Final = 5.0
"""Seconds that a ring lasted, at least, if all members are taken to have known it."""

MAX_FORMER_RINGS: Final = 4
"""Rings kept; at 1,000 members each takes 1.3 MB."""


@dataclass(frozen=True, slots=True)
class _Former:
    ring: Ring
    since: float
    until: float


class FormerRings:
    """The rings that one member worked by until a moment ago."""

    def __init__(self) -> None:
        """Know of none."""
        self._rings: deque[_Former] = deque()
        self._since = 0.0

    def replaced(self, ring: Ring, now: float) -> None:
        """Keep a ring that is not worked by any more, unless it was empty, or a passing one.

        Of too many the second oldest goes: the one of a minute ago is the one that counts.
        """
        self._drop_old(now)
        if ring.zones and now - self._since >= SETTLED_INTERVAL:
            self._rings.append(_Former(ring, self._since, now))
        self._since = now
        if len(self._rings) > MAX_FORMER_RINGS:
            del self._rings[1]

    def owners(self, key: PackedKey, now: float) -> tuple[str, ...]:
        """Return the preference list of a key by the ring of a minute ago; none if it was not seen."""
        self._drop_old(now)
        if not self._rings or self._rings[0].since > now - FORMER_INTERVAL:
            return ()
        return self._rings[0].ring.preference_list(token_of(key))

    def _drop_old(self, now: float) -> None:
        while self._rings and self._rings[0].until <= now - FORMER_INTERVAL:
            self._rings.popleft()
