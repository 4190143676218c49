"""Giving page cache back as a big blob is sent.

A layer is often sent once to each of a few nodes and then not for weeks, while the node's
own workloads want the memory. Off unless configured: where a roll-out is under way the
same pages are about to be sent again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

STEP = 16 << 20
"""Bytes dropped at once, and kept behind the place of sending: those may still be in the socket."""


class CacheRelease:
    """Drops what of one file was sent."""

    def __init__(
        self, fd: int, *, start: int, threshold: int | None, on_dropped: Callable[[int, int], None]
    ) -> None:
        """Begin at `start`; files below `threshold` bytes, or all if that is None, stay cached.

        `on_dropped` hears from where to where pages were given back.
        """
        self._fd = fd
        self._dropped_until = start
        self._on_dropped = on_dropped
        self._is_on = threshold is not None and os.fstat(fd).st_size >= threshold

    def sent(self, offset: int) -> None:
        """Take note that all before `offset` was sent."""
        if self._is_on and offset - self._dropped_until >= 2 * STEP:
            self._drop(offset - STEP)

    def finish(self, offset: int) -> None:
        """Drop the rest of what was sent."""
        if self._is_on and offset > self._dropped_until:
            self._drop(offset)

    def _drop(self, until: int) -> None:
        with suppress(OSError):  # advice is only advice
            os.posix_fadvise(
                self._fd, self._dropped_until, until - self._dropped_until, os.POSIX_FADV_DONTNEED
            )
        self._on_dropped(self._dropped_until, until)
        self._dropped_until = until
