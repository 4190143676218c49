import fcntl
import os

import pytest

from spegel_gossip.splice.pipes import PipePool


def test_a_drained_pipe_is_lent_again() -> None:
    pool = PipePool()
    with pool.lend() as pipe:
        first = pipe.reader
    with pool.lend() as pipe:
        assert pipe.reader == first
    pool.close()


def test_a_pipe_with_bytes_left_in_it_is_closed() -> None:
    pool = PipePool()
    with pool.lend() as pipe:
        pipe.pending = os.write(pipe.writer, b"left over")
        reader = pipe.reader

    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(reader, fcntl.F_GETFD)


def test_no_more_pipes_are_kept_than_the_bound() -> None:
    pool = PipePool(max_idle=1)
    with pool.lend() as kept, pool.lend() as surplus:
        readers = (kept.reader, surplus.reader)

    open_readers = [fd for fd in readers if _is_open(fd)]

    # The inner one came back first, and the place was taken when the outer one did.
    assert open_readers == [readers[1]]
    pool.close()
    assert not _is_open(readers[1])


def test_a_pipe_is_made_larger_than_the_default_where_the_kernel_allows() -> None:
    pool = PipePool()
    with pool.lend() as pipe:
        assert pipe.capacity >= 64 << 10
    pool.close()


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True
