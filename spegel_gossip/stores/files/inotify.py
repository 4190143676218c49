"""The kernel's news of files, for trio: inotify by ctypes, as small as it can be."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import trio

READ_BYTES = 64 * 1024
"""One read takes at least 240 events of the longest name (inotify(7)); the kernel queues the rest."""

_HEADER = struct.Struct("iIII")
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Mask(IntEnum):
    """inotify(7)'s bits, as far as they are used; integers, as each event is held against several of them."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    MOVE_SELF = 0x800
    QUEUE_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLY_DIRECTORY = 0x1000000


@dataclass(frozen=True, slots=True)
class FileEvent:
    """Something happened to `name` in a watched directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance; belongs to one task."""

    def __init__(self) -> None:
        """Open an instance.

        Raises:
            OSError: the kernel has none to give (fs.inotify.max_user_instances).
        """
        self._descriptor = _checked(_libc.inotify_init1(_FLAGS), "inotify")

    def watch(self, path: Path, mask: int) -> int:
        """Watch a directory; return the number that its events will carry.

        Raises:
            OSError: it is not there, cannot be read, or the kernel has no watch to
                give (fs.inotify.max_user_watches).
        """
        bits = mask | Mask.ONLY_DIRECTORY
        return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), bits), str(path))

    def forget(self, watch: int) -> None:
        """End a watch; one that the kernel has ended already is no error."""
        _libc.inotify_rm_watch(self._descriptor, watch)

    async def wait(self) -> None:
        """Wait until there is news to read."""
        await trio.lowlevel.wait_readable(self._descriptor)

    def read(self) -> Iterator[FileEvent]:
        """Yield what has happened by now, in order."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            yield FileEvent(watch, mask, name)

    def close(self) -> None:
        """Give the instance back."""
        os.close(self._descriptor)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return int(result)
