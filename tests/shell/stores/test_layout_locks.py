import os
from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest
import trio
import trio.testing

from shell.stores.descriptors import descriptors_below
from spegel_gossip.stores.layout.locks import LockedError, lock_directory, locked, patiently


class ChangedMeanwhile(PosixPath):
    """A directory to which something happens just after it was opened and locked."""

    what: Callable[[Path], None]

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        self.what(Path(self))
        return super().stat(follow_symlinks=follow_symlinks)


def replace(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.mkdir()


@pytest.mark.parametrize("what", [replace, Path.rmdir], ids=["replaced", "removed"])
def test_a_lock_on_a_directory_that_is_no_more_is_none(tmp_path: Path, what: Callable[[Path], None]) -> None:
    path = ChangedMeanwhile(tmp_path / "ingest")
    path.what = what
    path.mkdir()
    with pytest.raises(LockedError):
        lock_directory(path)

    assert descriptors_below(tmp_path) == 0


def test_one_writer_or_many_readers_hold_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path, is_shared=True), locked(tmp_path, is_shared=True), pytest.raises(LockedError):
        lock_directory(tmp_path)
    with locked(tmp_path), pytest.raises(LockedError):
        lock_directory(tmp_path, is_shared=True)
    os.close(lock_directory(tmp_path))


async def test_patience_ends_with_the_lock(tmp_path: Path, nursery: trio.Nursery) -> None:
    held = lock_directory(tmp_path)
    got = trio.Event()

    async def wait() -> None:
        os.close(await patiently(lambda: lock_directory(tmp_path)))
        got.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not got.is_set()
    os.close(held)
    with trio.fail_after(5):
        await got.wait()
