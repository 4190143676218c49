"""Whether an owner's "nobody" may be believed yet.

An owner is young for a key while holders may exist who have not told it: those who
joined and have not closed their telling, and all of them where the ring gave it the
key a moment ago. Only a few seconds matter, and being young costs an asker one more
question, so what cannot be known exactly is called young.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from spegel_gossip.ring.ring import Ring

YOUNG_INTERVAL: Final = 30.0
"""Seconds after which an owner counts as told, whoever is still silent."""

MAX_FORMER_RINGS: Final = 6
"""Former rings kept within that time; at 1,000 members each takes 1.3 MB.

Where there are more, the latest count: they last the 6 s in which holders tell new owners.
"""


@dataclass(slots=True)
class _Awaited:
    """A member that may have more to tell."""

    until: float
    closed_epoch: int | None = None
    """The ring by which it told all, if it has."""


class Youth:
    """What one owner is still waiting for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unclosed: dict[str, _Awaited] = {}
        self._epoch = 0
        self._former: deque[tuple[float, Ring]] = deque(maxlen=MAX_FORMER_RINGS)

    def member_joined(self, name: str, now: float) -> None:
        """Wait for what a member has to tell."""
        self._unclosed.pop(name, None)
        self._unclosed[name] = _Awaited(now + YOUNG_INTERVAL)

    def member_closed(self, name: str, epoch: int) -> None:
        """Wait no longer for a member that has told all, once we see the ring it told it by.

        By another ring, it told what we own there: less, perhaps, than we own here.
        """
        awaited = self._unclosed.get(name)
        if awaited is not None:
            awaited.closed_epoch = epoch
            self._drop_closed()

    def member_gone(self, name: str) -> None:
        """Wait no longer for a member that is dead or left."""
        self._unclosed.pop(name, None)

    def ring_changed(self, before: Ring, after: Ring, now: float) -> None:
        """Remember what the ring was until now."""
        self._epoch = after.epoch
        self._drop_closed()
        self._drop_old(now)
        self._former.append((now + YOUNG_INTERVAL, before))

    def is_young(self, token: int, now: float) -> bool:
        """Return whether a holder of the key at `token` may be unknown here."""
        while self._unclosed:
            # In the order of joining, so the first runs out first.
            name, awaited = next(iter(self._unclosed.items()))
            if awaited.until > now:
                return True
            del self._unclosed[name]
        self._drop_old(now)
        return any(self._name not in ring.preference_list(token) for _, ring in self._former)

    def _drop_closed(self) -> None:
        for name in [name for name, one in self._unclosed.items() if one.closed_epoch == self._epoch]:
            del self._unclosed[name]

    def _drop_old(self, now: float) -> None:
        while self._former and self._former[0][0] <= now:
            self._former.popleft()
