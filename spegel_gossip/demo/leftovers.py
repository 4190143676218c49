"""What a demo that was killed could not take away itself; the next one does.

A demo holds a lock on its folder for as long as it lives, and the kernel lets go of it however
that ends. Logs that were left on purpose, for somebody whose claim failed, stay: there is
nothing else in such a folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "spegel-gossip-demo-"


@contextmanager
def own_folder() -> Iterator[Path]:
    """Give a new folder for a demo, locked; it is the caller's to remove.

    Raises:
        OSError: there is no place for one.
    """
    _remove_leftovers(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)


def _remove_leftovers(place: Path) -> None:
    for folder in sorted(place.glob(f"{PREFIX}*")):
        try:
            if _is_leftover(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # Gone, or not ours: no affair of a demo that only wants to begin.
            continue


def _is_leftover(folder: Path) -> bool:
    """Return whether a folder is ours, nobody's who lives, and more than logs."""
    # A link in a place where everybody may write could lead anywhere.
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return any(stat.S_ISDIR(path.lstat().st_mode) for path in folder.iterdir())
    finally:
        os.close(lock)
