"""Whether an owner's "nobody" may be believed yet.

An owner is young for a key while holders may exist who have not told it: those who
joined and have not closed their telling, and all of them where the ring gave it the
key a moment ago. Only a few seconds matter, and being young costs an asker one more
question, so what cannot be known exactly is called young.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from spegel_gossip.ring.ring import Ring

YOUNG_INTERVAL: Final = 30.0
"""Seconds after which an owner counts as told, whoever is still silent."""

MAX_FORMER_RINGS: Final = 4
"""Former rings kept within that time; at 1,000 members each takes 1.3 MB."""


class Youth:
    """What one owner is still waiting for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unclosed: dict[str, float] = {}
        self._former: deque[tuple[float, Ring]] = deque()

    def member_joined(self, name: str, now: float) -> None:
        """Wait for what a member has to tell."""
        self._unclosed.pop(name, None)
        self._unclosed[name] = now + YOUNG_INTERVAL

    def member_closed(self, name: str) -> None:
        """Wait no longer for a member: it told all, or it is gone."""
        self._unclosed.pop(name, None)

    def ring_changed(self, before: Ring, now: float) -> None:
        """Remember what the ring was until now."""
        self._drop_old(now)
        if len(self._former) < MAX_FORMER_RINGS:
            self._former.append((now + YOUNG_INTERVAL, before))
        else:
            # Too many changes to remember each: stretch the last one over them. Keys
            # that came and went in between look older than they are; the notes on
            # pings find what their owner missed.
            self._former[-1] = (now + YOUNG_INTERVAL, self._former[-1][1])

    def is_young(self, token: int, now: float) -> bool:
        """Return whether a holder of the key at `token` may be unknown here."""
        while self._unclosed:
            # In the order of joining, so the first runs out first.
            name, until = next(iter(self._unclosed.items()))
            if until > now:
                return True
            del self._unclosed[name]
        self._drop_old(now)
        return any(self._name not in ring.preference_list(token) for _, ring in self._former)

    def _drop_old(self, now: float) -> None:
        while self._former and self._former[0][0] <= now:
            self._former.popleft()
