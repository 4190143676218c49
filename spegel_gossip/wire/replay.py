"""Which counters of which sender were seen: a datagram counts once."""

from __future__ import annotations

WINDOW = 2048
"""Counters behind the newest one that may still arrive, in any order.

A sender numbers all its datagrams with one counter, so we see gaps; at 1,000
datagrams a second this is two seconds of reordering.
"""

MAX_SENDERS = 16_384
BOOTS_PER_SENDER = 2
"""The newest boots of a name that are listened to.

Two, because the last datagrams of a life may arrive after the first of the next, and
because two processes with one name must both be heard for the conflict to be seen.
"""


class ReplayWindow:
    """The counters seen of one life of one sender."""

    __slots__ = ("_newest", "_seen")

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0  # bit i: counter `newest - i` was seen

    def accept(self, counter: int) -> bool:
        """Mark a counter; False if it was seen, or is too old to know."""
        ahead = counter - self._newest
        if ahead > 0:
            kept = self._seen << ahead if ahead < WINDOW else 0
            self._seen = (kept & ((1 << WINDOW) - 1)) | 1
            self._newest = counter
            return True
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


class ReplayGuard:
    """The windows of all senders. Ask it only about what was authenticated."""

    def __init__(self) -> None:
        self._boots: dict[str, dict[int, ReplayWindow]] = {}

    def accept(self, name: str, boot: int, counter: int) -> bool:
        """Mark a datagram as seen; False if it is a replay, or of a life older than the last two."""
        windows = self._boots.pop(name, None) or {}
        # Taken out and put back, so the first name in the dict is the one silent for longest.
        self._boots[name] = windows
        if len(self._boots) > MAX_SENDERS:
            del self._boots[next(iter(self._boots))]
        window = windows.get(boot)
        if window is None:
            if len(windows) >= BOOTS_PER_SENDER:
                oldest = min(windows)
                if boot < oldest:
                    return False
                del windows[oldest]
            window = windows[boot] = ReplayWindow()
        return window.accept(counter)
