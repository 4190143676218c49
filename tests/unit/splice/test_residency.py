import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spegel_gossip.splice.residency import MAX_WINDOWS, TRUST_INTERVAL, WINDOW, FileResidency, Residency

SIZE = 3 * WINDOW + 17


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


def residency(fd: int) -> FileResidency:
    return Residency().file(fd)


def test_a_file_just_read_is_resident(fd: int) -> None:
    os.pread(fd, SIZE, 0)

    assert residency(fd).covers(0, SIZE, stop=SIZE, now=0.0)


def test_an_evicted_file_is_not_resident(fd: int) -> None:
    evict(fd)

    assert not residency(fd).covers(0, 1, stop=SIZE, now=0.0)


def test_a_cold_stretch_behind_a_warm_one_is_seen(fd: int) -> None:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no readahead past what is read
    evict(fd)
    os.pread(fd, WINDOW, 0)
    window = residency(fd)

    assert window.covers(0, WINDOW, stop=SIZE, now=0.0)
    assert not window.covers(WINDOW, WINDOW, stop=SIZE, now=0.0)


def test_one_cold_page_among_warm_ones_is_seen(fd: int) -> None:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    evict(fd)
    hole = 77 * mmap.PAGESIZE
    os.pread(fd, hole, 0)
    os.pread(fd, SIZE, hole + mmap.PAGESIZE)

    assert not residency(fd).covers(0, hole + 1, stop=SIZE, now=0.0)
    assert residency(fd).covers(WINDOW, 1000, stop=SIZE, now=0.0)


def test_asking_brings_nothing_in(fd: int) -> None:
    evict(fd)
    # Many transfers of one blob that is cold, each of which asks again and again.
    for _ in range(50):
        assert not residency(fd).covers(WINDOW, WINDOW, stop=SIZE, now=0.0)


def test_an_old_answer_counts_no_more(fd: int) -> None:
    os.pread(fd, SIZE, 0)
    window = residency(fd)
    assert window.covers(0, 1, stop=SIZE, now=0.0)
    evict(fd)

    assert window.covers(1, 1, stop=SIZE, now=TRUST_INTERVAL)
    assert not window.covers(1, 1, stop=SIZE, now=TRUST_INTERVAL + 0.1)


@pytest.mark.parametrize("offset", [0, 1, 4095, WINDOW - 1, SIZE - 1])
def test_stretches_need_not_begin_or_end_with_a_page(offset: int, fd: int) -> None:
    os.pread(fd, SIZE, 0)

    assert residency(fd).covers(offset, SIZE - offset, stop=SIZE, now=0.0)


def test_what_lies_behind_the_end_of_a_truncated_file_is_left_to_a_thread(fd: int) -> None:
    os.pread(fd, SIZE, 0)

    assert not residency(fd).covers(SIZE + mmap.PAGESIZE, 2 * SIZE, stop=3 * SIZE, now=0.0)


def test_a_file_of_somebody_else_is_left_to_a_thread(fd: int) -> None:
    os.pread(fd, SIZE, 0)
    if os.geteuid() != 0:
        pytest.skip("giving a file away takes root")
    os.fchown(fd, 12_345, -1)

    assert not residency(fd).covers(0, 1, stop=SIZE, now=0.0)


def test_what_is_no_file_is_left_to_a_thread() -> None:
    reader, writer = os.pipe()

    assert not residency(reader).covers(0, 1, stop=SIZE, now=0.0)
    os.close(reader)
    os.close(writer)


def test_what_one_transfer_found_another_one_knows(fd: int) -> None:
    shared = Residency()
    os.pread(fd, SIZE, 0)
    assert shared.file(fd).covers(0, SIZE, stop=SIZE, now=0.0)
    evict(fd)

    assert shared.file(fd).covers(WINDOW, 10, stop=SIZE, now=0.5)


def test_what_was_given_back_is_asked_about_again(fd: int) -> None:
    shared = Residency()
    os.pread(fd, SIZE, 0)
    file = shared.file(fd)
    assert file.covers(0, SIZE, stop=SIZE, now=0.0)
    evict(fd)

    file.dropped(0, WINDOW + 1)

    assert not shared.file(fd).covers(WINDOW + 5, 1, stop=SIZE, now=0.0)
    assert shared.file(fd).covers(2 * WINDOW, 1, stop=SIZE, now=0.0)


def test_a_file_that_grew_is_asked_about_again(fd: int) -> None:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    evict(fd)
    half = WINDOW // 2
    os.pread(fd, half, 0)
    file = residency(fd)

    assert file.covers(0, half, stop=half, now=0.0)
    assert not file.covers(half, 1, stop=half + 1, now=0.0)


def test_what_is_remembered_is_bounded() -> None:
    shared = Residency()
    for number in range(MAX_WINDOWS):
        shared.remember((1, 1, number), 1, 0.0)
    assert shared.knows((1, 1, 0), 1, 0.0)
    shared.remember((1, 1, MAX_WINDOWS), 1, 0.0)

    assert not shared.knows((1, 1, 0), 1, 0.0)
