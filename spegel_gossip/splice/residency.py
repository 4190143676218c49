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
"""Bytes asked about together, and from a multiple of that on: 35 µs, where sending them takes 200."""

TRUST_INTERVAL: Final = 1.0
"""Seconds for which an answer counts: pages that a slow client leaves waiting may be evicted."""

MAX_WINDOWS: Final = 4096
"""Windows remembered: 4 GiB of what is being sent now, in half a megabyte."""

_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_ALL_RESIDENT: Final = [b"\x01" * pages for pages in range(WINDOW // mmap.PAGESIZE + 1)]

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


class Residency:
    """What is known of the page cache; shared, because a blob in demand is sent to many at once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._resident: dict[tuple[int, int, int], tuple[int, float]] = {}

    def file(self, fd: int) -> FileResidency:
        """Return what there is to ask about an open file."""
        return FileResidency(self, fd)

    def knows(self, key: tuple[int, int, int], until: int, now: float) -> bool:
        """Return whether a window was found resident up to `until` a moment ago."""
        known_until, found_at = self._resident.get(key, (0, 0.0))
        return known_until >= until and now - found_at <= TRUST_INTERVAL

    def remember(self, key: tuple[int, int, int], until: int, now: float) -> None:
        """Take in that a window is resident up to `until`."""
        if len(self._resident) >= MAX_WINDOWS:
            self._resident.clear()
        self._resident[key] = until, now

    def forget(self, key: tuple[int, int, int]) -> None:
        """Know nothing of a window any more."""
        self._resident.pop(key, None)


class FileResidency:
    """One open file's place in the page cache."""

    def __init__(self, shared: Residency, fd: int) -> None:
        """Take an open file; it stays the caller's."""
        status = os.fstat(fd)
        self._shared = shared
        self._fd = fd
        self._file = status.st_dev, status.st_ino
        # To whoever is neither owner nor writer, Linux says that all is there (since 5.1).
        self._is_told = status.st_uid == os.geteuid()

    def covers(self, offset: int, count: int, *, stop: int, now: float) -> bool:
        """Return whether `count` bytes at `offset` are resident, looking only where it must.

        Where the kernel does not say, the answer is no: a thread may wait, the loop may not.

        Args:
            offset: of the first byte
            count: at least 1
            stop: bytes from there on are not asked about; a growing file may not have them yet
            now: the loop's clock
        """
        first, last = offset // WINDOW, (offset + count - 1) // WINDOW
        return self._is_told and all(self._has(number, stop, now) for number in range(first, last + 1))

    def dropped(self, start: int, stop: int) -> None:
        """Take in that a stretch was given back to the kernel."""
        for number in range(start // WINDOW, -(-stop // WINDOW)):
            self._shared.forget((*self._file, number))

    def _has(self, number: int, stop: int, now: float) -> bool:
        key = (*self._file, number)
        start, until = number * WINDOW, min((number + 1) * WINDOW, stop)
        if self._shared.knows(key, until, now):
            return True
        is_resident = _is_resident(self._fd, start, until)
        if is_resident:
            self._shared.remember(key, until, now)
        return is_resident


def _is_resident(fd: int, start: int, stop: int) -> bool:
    """Ask about every page from a window's beginning on; what lies behind the file's end is not resident."""
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
