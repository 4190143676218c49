import os
from pathlib import Path

import pytest

from spegel_gossip.splice.caching import STEP, CacheRelease

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
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def test_a_big_file_leaves_the_cache_behind_the_place_of_sending(cached_file: Path) -> None:
    with cached_file.open("rb") as file:
        fd = file.fileno()
        if not is_cached(fd, 0):
            pytest.skip("this file system does not say what is cached")
        release = CacheRelease(fd, start=0, threshold=SIZE)

        release.sent(2 * STEP - 1)
        assert is_cached(fd, 0)
        release.sent(2 * STEP)
        assert not is_cached(fd, PAGE)
        assert is_cached(fd, 2 * STEP)
        release.finish(SIZE)
        assert not is_cached(fd, SIZE - PAGE)


@pytest.mark.parametrize("threshold", [None, SIZE + 1])
def test_a_smaller_file_stays_cached(threshold: int | None, cached_file: Path) -> None:
    with cached_file.open("rb") as file:
        release = CacheRelease(file.fileno(), start=0, threshold=threshold)
        release.sent(SIZE)
        release.finish(SIZE)

        assert is_cached(file.fileno(), 0)
