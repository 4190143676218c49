from __future__ import annotations

import trio

from spegel_gossip.swim.address import Address
from spegel_gossip.wire.pool import IDLE_TIMEOUT, MAX_IDLE, MAX_IDLE_PER_PEER, ConnectionPool

A, B = Address("10.0.0.1", 1), Address("10.0.0.2", 1)


def is_open(sock: trio.socket.SocketType) -> bool:
    return sock.fileno() >= 0


def pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    near, far = trio.socket.socketpair()
    return near, far


async def test_a_connection_comes_back_once_and_only_for_its_peer() -> None:
    pool = ConnectionPool()
    near, far = pair()
    pool.put(A, near)

    assert pool.take(B) is None
    assert pool.take(A) is near
    assert pool.take(A) is None
    near.close()
    far.close()


async def test_the_connection_used_last_is_used_first() -> None:
    pool = ConnectionPool()
    pairs = [pair() for _ in range(3)]
    for near, _ in pairs:
        pool.put(A, near)

    assert pool.take(A) is pairs[-1][0]
    pool.close()
    for near, far in pairs:
        near.close()
        far.close()


async def test_a_connection_that_was_closed_or_says_something_is_not_given_out() -> None:
    pool = ConnectionPool()
    (closed, far), (talking, talker) = pair(), pair()
    far.close()
    await talker.send(b"?")
    pool.put(A, closed)
    pool.put(A, talking)

    assert pool.take(A) is None
    assert not is_open(closed)
    assert not is_open(talking)
    talker.close()


async def test_an_idle_connection_is_closed_after_a_while(autojump_clock: trio.testing.MockClock) -> None:
    pool = ConnectionPool()
    near, far = pair()
    pool.put(A, near)
    await trio.sleep(IDLE_TIMEOUT)

    assert pool.take(A) is None
    assert not is_open(near)
    far.close()


async def test_what_is_kept_is_bounded_for_each_peer_and_in_all() -> None:
    pool = ConnectionPool()
    pairs = [pair() for _ in range(MAX_IDLE + 1 + MAX_IDLE_PER_PEER)]
    for number, (near, _) in enumerate(pairs):
        pool.put(Address("10.0.0.1", number + 1) if number <= MAX_IDLE else A, near)

    assert sum(is_open(near) for near, _ in pairs) == MAX_IDLE
    pool.close()
    assert not any(is_open(near) for near, _ in pairs)
    for _, far in pairs:
        far.close()


async def test_no_peer_has_more_than_its_share() -> None:
    pool = ConnectionPool()
    pairs = [pair() for _ in range(MAX_IDLE_PER_PEER + 1)]
    for near, _ in pairs:
        pool.put(A, near)

    assert [is_open(near) for near, _ in pairs] == [False] + [True] * MAX_IDLE_PER_PEER
    pool.close()
    for _, far in pairs:
        far.close()
