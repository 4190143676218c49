"""How much of its uplink a node uses: what its kernel takes at once is no measure, waiting for it is.

A socket that is always full says that the link is; then what was sent is what the link
can do. While it is not, another child would do no harm.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 1.0
"""Seconds over which it is measured."""

FULL_SHARE: Final = 0.9
"""Share of that time for which something waited to be sent, from which on the link counts as full."""

FADING: Final = 0.9
"""What is left of a measured rate when a full window had less: a link's share may shrink."""

ASSUMED_RATE: Final = 125_000_000.0
"""Bytes a second that a link is taken to bear that was never full: 1 Gbit/s."""


class Uplink:
    """What this node sends to others, and what it could."""

    def __init__(self) -> None:
        """Know nothing."""
        self._rate = 0.0
        self._began_at = 0.0
        self._sent = 0
        self._waiting = 0
        self._waiting_since = 0.0
        self._waited = 0.0
        self._uploads = 0
        self._last_rate = 0.0
        self._last_share = 0.0

    def upload_began(self) -> None:
        """Count one more that reads from here."""
        self._uploads += 1

    def upload_ended(self) -> None:
        """Count one less."""
        self._uploads -= 1

    def sent(self, count: int, now: float) -> None:
        """Count bytes that were sent."""
        self._close_windows(now)
        self._sent += count

    def wait_began(self, now: float) -> None:
        """Take in that an upload waits until the kernel takes more."""
        self._close_windows(now)
        if not self._waiting:
            self._waiting_since = now
        self._waiting += 1

    def wait_ended(self, now: float) -> None:
        """Take in that it does not any more."""
        self._close_windows(now)
        self._waiting -= 1
        if not self._waiting:
            self._waited += now - self._waiting_since

    def rate(self, now: float) -> int:
        """Return the bytes a second that went out while the link was full; 0 if it never was."""
        self._close_windows(now)
        return int(self._rate)

    def has_spare(self, now: float) -> bool:
        """Return whether one more upload like those under way would find room."""
        self._close_windows(now)
        if not self._uploads:
            return False
        more = (self._uploads + 1) / self._uploads
        is_idle = self._last_share * more < FULL_SHARE
        return is_idle and self._last_rate * more <= (self._rate or ASSUMED_RATE)

    def _close_windows(self, now: float) -> None:
        length = now - self._began_at
        if length < WINDOW:
            return
        waited = self._waited
        if self._waiting:
            waited += now - self._waiting_since
            self._waiting_since = now
        self._last_rate, self._last_share = self._sent / length, waited / length
        if self._last_share >= FULL_SHARE:
            self._rate = max(self._last_rate, self._rate * FADING)
        self._began_at, self._sent, self._waited = now, 0, 0.0
