"""Nonces of requests that were served: a signed request works once."""

from __future__ import annotations

from collections import Counter
from enum import Enum

MAX_NONCES = 65_536
"""Two thousand requests a second for a whole window; 8 MB. Only signed requests get in."""

MAX_NONCES_OF_ONE = MAX_NONCES // 4
"""Of one sender: a member that asks without end shuts itself out, and not the others."""

LONGEST_LIFE = 61
"""Seconds until a nonce expires, at most: a request's time is up to a window ahead, and lasts one."""


class Verdict(Enum):
    """What is known of a nonce."""

    NEW = "new"
    SEEN = "seen"
    NO_ROOM = "no_room"
    """It cannot be remembered, so what it came with must not be served: it could come again."""


class NonceMemory:
    """Nonces seen, each until its request's time is out of the window.

    They are kept by the second in which they expire. A request's time is signed with
    its nonce, so one that comes again is looked for in its own second only, and what
    is over goes by the second.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, dict[str, str]] = {}
        self._held: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def accept(self, nonce: str, *, sender: str, expires_at: float, now: float) -> Verdict:
        """Remember a nonce, if it is new and there is room.

        None that is still good is ever forgotten for another: whoever recorded a request
        could have it served again once enough others had come.
        """
        for second in [one for one in self._seconds if one < int(now)]:
            self._forget(second)
        second = int(expires_at)
        if nonce in self._seconds.get(second, ()):
            return Verdict.SEEN
        if self._count >= MAX_NONCES:
            # Our clock was set back: what seemed to expire soon is far ahead now, and would
            # be refused for its time.
            for ahead in [one for one in self._seconds if one > int(now) + LONGEST_LIFE]:
                self._forget(ahead)
        if self._count >= MAX_NONCES or self._held[sender] >= MAX_NONCES_OF_ONE:
            return Verdict.NO_ROOM
        self._seconds.setdefault(second, {})[nonce] = sender
        self._held[sender] += 1
        self._count += 1
        return Verdict.NEW

    def _forget(self, second: int) -> None:
        gone = self._seconds.pop(second)
        self._count -= len(gone)
        self._held.subtract(gone.values())
        self._held = +self._held
