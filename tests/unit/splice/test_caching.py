import os
from pathlib import Path

import pytest

from spegel_gossip.splice.caching import STEP, CacheRelease
from spegel_gossip.splice.residency import WINDOW, Residency

PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE = 3 * STEP


@pytest.fixture
def cached_file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(b"\1" * SIZE)
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # a dirty page cannot be dropped
        file.read()
    return path


def is_cached(fd: int, offset: int) -> bool:
    return Residency().file(fd).covers(offset - offset % WINDOW, 1, stop=offset + PAGE, now=0.0)


def test_a_big_file_leaves_the_cache_behind_the_place_of_sending(cached_file: Path) -> None:
    dropped: list[tuple[int, int]] = []
    with cached_file.open("rb") as file:
        fd = file.fileno()
        assert is_cached(fd, 0)
        release = CacheRelease(
            fd, start=0, threshold=SIZE, on_dropped=lambda start, stop: dropped.append((start, stop))
        )

        release.sent(2 * STEP - 1)
        assert is_cached(fd, 0)
        release.sent(2 * STEP)
        assert not is_cached(fd, 0)
        assert is_cached(fd, 2 * STEP)
        release.finish(SIZE)
        assert not is_cached(fd, SIZE - PAGE)

    assert dropped == [(0, STEP), (STEP, SIZE)]


@pytest.mark.parametrize("threshold", [None, SIZE + 1])
def test_a_smaller_file_stays_cached(threshold: int | None, cached_file: Path) -> None:
    dropped: list[tuple[int, int]] = []
    with cached_file.open("rb") as file:
        release = CacheRelease(
            file.fileno(),
            start=0,
            threshold=threshold,
            on_dropped=lambda start, stop: dropped.append((start, stop)),
        )
        release.sent(SIZE)
        release.finish(SIZE)

        assert is_cached(file.fileno(), 0)

    assert dropped == []
