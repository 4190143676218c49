"""Locks between processes: flock(2) on the directory that is to be changed.

A lock on the directory itself needs no file of its own, which nobody could ever
remove safely. It ends with its holder, also by kill -9.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from spegel_gossip.content import ContentStoreUnavailableError

T = TypeVar("T")

POLL_INTERVAL = 0.02
"""Seconds between attempts at a lock that somebody else holds. flock could wait by itself, but only in a
thread that nothing can cancel."""


class LockedError(Exception):
    """Somebody else holds the lock now; never leaves this package."""


def lock_directory(path: Path, *, is_shared: bool = False) -> int:
    """Lock a directory without waiting; return the descriptor that holds the lock until it is closed.

    Raises:
        LockedError: somebody else holds it, or has removed the directory meanwhile.
        OSError: the directory is not there, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        # Its last holder may have removed it: then this is a lock on nothing.
        is_ours = os.path.samestat(path.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    except BaseException:
        os.close(descriptor)
        raise
    if not is_ours:
        os.close(descriptor)
        raise LockedError
    return descriptor


@contextmanager
def locked(path: Path, *, is_shared: bool = False) -> Iterator[None]:
    """Hold the lock of a directory.

    Raises:
        LockedError: somebody else holds it.
        OSError: the directory is not there, or cannot be opened.
    """
    descriptor = lock_directory(path, is_shared=is_shared)
    try:
        yield
    finally:
        os.close(descriptor)


async def in_thread(work: Callable[[], T]) -> T:
    """Do what touches the disk in a worker thread, to its end even if cancelled.

    Raises:
        ContentStoreUnavailableError: the disk failed.
    """
    try:
        return await trio.to_thread.run_sync(work)
    except OSError as exc:
        raise ContentStoreUnavailableError(f"the image layout failed: {exc}; look at the disk") from exc


async def patiently(work: Callable[[], T]) -> T:
    """Do the same as often as it meets somebody else's lock.

    Raises:
        ContentStoreUnavailableError: the disk failed.
    """
    while True:
        try:
            return await in_thread(work)
        except LockedError:
            await trio.sleep(POLL_INTERVAL)
