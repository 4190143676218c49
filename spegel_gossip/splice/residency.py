"""Whether a stretch of a file can be sent without waiting for the disk.

sendfile from a page that is not in the page cache blocks the whole loop for as long as
the disk takes. `preadv2` with RWF_NOWAIT answers EAGAIN instead of waiting, so one byte
read per readahead window tells a cached stretch from a cold one: 10 µs per MiB, where
sending it takes 300.
"""

from __future__ import annotations

import os

PROBE_STEP = 128 << 10
"""Bytes between probes: the kernel's default readahead brings pages in runs of this size."""

PROBE_WINDOW = 1 << 20
"""Bytes probed together and then trusted; a transfer is through them within milliseconds."""


class ResidentWindow:
    """What is known of one open file's place in the page cache."""

    def __init__(self, fd: int, *, stop: int) -> None:
        """Know nothing yet; bytes from `stop` on are never asked about."""
        self._fd = fd
        self._stop = stop
        self._known_until = 0
        self._byte = bytearray(1)

    def covers(self, offset: int, count: int) -> bool:
        """Return whether `count` bytes at `offset` are resident, looking only where it must.

        Calls must not go backwards in the file.
        """
        while self._known_until < offset + count:
            start = max(offset, self._known_until)
            stop = min(start + PROBE_WINDOW, self._stop)
            if not self._is_resident(start, stop):
                return False
            self._known_until = stop
        return True

    def _is_resident(self, start: int, stop: int) -> bool:
        return all(self._has(at) for at in (*range(start, stop, PROBE_STEP), stop - 1))

    def _has(self, offset: int) -> bool:
        try:
            os.preadv(self._fd, [self._byte], offset, os.RWF_NOWAIT)
        except OSError:
            # EAGAIN: not cached. EOPNOTSUPP (tmpfs, FUSE): the file system cannot say, and
            # FUSE may well block, so a thread is the safe answer. A real read error: let the
            # sending call meet it.
            return False
        # Zero bytes read means that the file ends before here, which costs no disk.
        return True
