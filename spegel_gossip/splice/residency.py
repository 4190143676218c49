"""Whether a stretch of a file can be sent without waiting for the disk.

sendfile from a page that is not in the page cache blocks the whole loop for as long as
the disk takes, so the loop asks first. mincore(2) answers for every page and changes
nothing. A read with RWF_NOWAIT, which is the usual way to ask, does not: Linux brings in
the very page that it was asked for, so a few questions to a cold file leave behind a
file that looks warm wherever anybody looks, and is not.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

WINDOW: Final = 1 << 20
"""Bytes asked about together; that takes 10 µs, where sending them takes 300."""

TRUST_INTERVAL: Final = 1.0
"""Seconds for which an answer counts: pages that a slow client leaves waiting may be evicted."""

_ALL_RESIDENT: Final = {pages: b"\x01" * pages for pages in range(WINDOW // mmap.PAGESIZE + 2)}
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


class ResidentWindow:
    """What is known of one open file's place in the page cache."""

    def __init__(self, fd: int) -> None:
        """Know nothing yet."""
        self._fd = fd
        self._known_until = 0
        self._known_at = 0.0
        # To whoever is neither owner nor writer, Linux says that all is there (since 5.1).
        self._is_told = os.fstat(fd).st_uid == os.geteuid()

    def covers(self, offset: int, count: int, *, stop: int, now: float) -> bool:
        """Return whether `count` bytes at `offset` are resident, looking only where it must.

        Calls must not go backwards in the file. Where the kernel does not say, the answer
        is no: a thread may wait, the loop may not.

        Args:
            offset: of the first byte
            count: at least 1
            stop: bytes from there on are not asked about; a growing file may not have them yet
            now: the loop's clock
        """
        if now - self._known_at > TRUST_INTERVAL:
            self._known_until = 0
        while self._known_until < offset + count:
            start = max(offset, self._known_until)
            window_stop = min(start + WINDOW, stop)
            if not self._is_told or not _is_resident(self._fd, start, window_stop):
                return False
            self._known_until, self._known_at = window_stop, now
        return True


def _is_resident(fd: int, start: int, stop: int) -> bool:
    """Ask about every page of a stretch; what lies behind the file's end is not resident."""
    start -= start % mmap.PAGESIZE
    pages = -(-(stop - start) // mmap.PAGESIZE)
    length = pages * mmap.PAGESIZE
    # Mapped without being touched: that costs no memory, and a file that shrinks raises no signal.
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, start)
    if address in {None, _MAP_FAILED}:
        return False
    found = ctypes.create_string_buffer(pages)
    failed = _libc.mincore(address, length, found)
    _libc.munmap(address, length)
    # Only the lowest bit of each byte means anything, and today's kernels set no other.
    return not failed and found.raw == _ALL_RESIDENT[pages]
