import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spegel_gossip.splice.residency import PROBE_WINDOW, ResidentWindow

SIZE = 3 * PROBE_WINDOW + 17


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(SIZE))
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def evict(fd: int) -> None:
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def can_tell(fd: int) -> bool:
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def test_a_file_just_read_is_resident(fd: int) -> None:
    os.pread(fd, SIZE, 0)
    if not can_tell(fd):
        pytest.skip("this file system has no RWF_NOWAIT")

    assert ResidentWindow(fd, stop=SIZE).covers(0, SIZE)


def test_an_evicted_file_is_not_resident(fd: int) -> None:
    evict(fd)

    assert not ResidentWindow(fd, stop=SIZE).covers(0, 1)


def test_a_cold_stretch_behind_a_warm_one_is_seen(fd: int) -> None:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no readahead past what is read
    evict(fd)
    os.pread(fd, PROBE_WINDOW, 0)
    if not can_tell(fd):
        pytest.skip("this file system has no RWF_NOWAIT")
    window = ResidentWindow(fd, stop=SIZE)

    assert window.covers(0, PROBE_WINDOW)
    assert not window.covers(PROBE_WINDOW, PROBE_WINDOW)


def test_what_lies_beyond_the_end_of_a_truncated_file_costs_no_disk(fd: int) -> None:
    os.pread(fd, SIZE, 0)
    if not can_tell(fd):
        pytest.skip("this file system has no RWF_NOWAIT")

    assert ResidentWindow(fd, stop=2 * SIZE).covers(SIZE, SIZE)
