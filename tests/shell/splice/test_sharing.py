"""How transfers share the loop, the rate and the page cache."""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from spegel_gossip.content import PartialStatus
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.residency import Residency
from spegel_gossip.splice.throttle import Throttle
from spegel_gossip.testing.blob_sources import FileReader

Sock = trio.socket.SocketType
Connect = Callable[[], Awaitable[tuple[Sock, Sock]]]
Blob = Callable[[int], bytes]

MIB = 1 << 20


class CountingThrottle(Throttle):
    """Lets everything pass, and knows how much."""

    def __init__(self) -> None:
        super().__init__(1e12)
        self.taken = 0

    @property
    def turn(self) -> int:
        return 48 << 10

    async def take(self, count: int) -> None:
        assert count <= self.turn
        self.taken += count
        await super().take(count)


class WholeCopy:
    """A `content.PartialBlob` that has all its bytes and is not committed."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self.total = os.fstat(self._fd).st_size

    def fileno(self) -> int:
        return self._fd

    def poll(self) -> PartialStatus | None:
        return PartialStatus(self.total, self.total)

    async def aclose(self) -> None:
        os.close(self._fd)


async def read_all(sock: Sock) -> bytes:
    received = bytearray()
    while data := await sock.recv(64 << 10):
        received += data
    return bytes(received)


def evict(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def is_cached(path: Path, size: int) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return Residency().file(fd).covers(0, size, stop=size, now=0.0)
    finally:
        os.close(fd)


async def test_who_wants_little_does_not_wait_for_who_wants_much(
    tcp_pair: Connect, tmp_path: Path, nursery: trio.Nursery
) -> None:
    small, huge = 2 * MIB, 256 * MIB
    with (tmp_path / "huge").open("wb") as file:
        for _ in range(huge // MIB):
            file.write(bytes(MIB))
    (tmp_path / "small").write_bytes(bytes(small))
    pump = Pump()
    swallowed = 0

    async def swallow(sock: Sock) -> None:
        nonlocal swallowed
        while data := await sock.recv(64 << 10):
            swallowed += len(data)

    async def send(sock: Sock, name: str, size: int) -> None:
        await pump.send(sock, FileReader(tmp_path / name), 0, size)
        sock.shutdown(socket.SHUT_WR)

    near, far = await tcp_pair()
    nursery.start_soon(swallow, far)
    nursery.start_soon(send, near, "huge", huge)
    async with trio.open_nursery() as transfers:
        for _ in range(20):
            near, far = await tcp_pair()
            transfers.start_soon(send, near, "small", small)
            transfers.start_soon(read_all, far)

    # Its share of as many turns, and what it had before the others came.
    assert swallowed < 20 * small
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_cold", [False, True], ids=["in memory", "on the disk"])
@pytest.mark.parametrize("is_growing", [False, True], ids=["whole", "growing"])
async def test_the_rate_is_charged_once_for_each_byte(
    is_growing: bool, is_cold: bool, tcp_pair: Connect, blob: Blob, tmp_path: Path
) -> None:
    size = 9 * MIB + 5
    path = tmp_path / "blob"
    path.write_bytes(blob(size))
    if is_cold:
        evict(path)
    throttle, pump = CountingThrottle(), Pump()
    near, far = await tcp_pair()
    received: list[bytes] = []
    delivered: list[Delivery] = []

    async def read() -> None:
        received.append(await read_all(far))

    async def send() -> None:
        if is_growing:
            delivered.append(await pump.send_growing(near, WholeCopy(path), 0, size, throttle=throttle))
        else:
            delivered.append(await pump.send(near, FileReader(path), 0, size, throttle=throttle))
        near.shutdown(socket.SHUT_WR)

    async with trio.open_nursery() as both:
        both.start_soon(read)
        both.start_soon(send)

    assert received == [blob(size)]
    assert delivered[0].moved == size
    assert throttle.taken == size  # however often the socket was full


@pytest.mark.parametrize(("threshold", "is_kept"), [(None, True), (64 * MIB, True), (MIB, False)])
async def test_the_page_cache_of_a_big_blob_is_given_back_where_that_is_configured(
    threshold: int | None, is_kept: bool, tcp_pair: Connect, blob: Blob, tmp_path: Path
) -> None:
    size = 3 * MIB
    path = tmp_path / "blob"
    path.write_bytes(blob(size))
    evict(path)
    path.read_bytes()
    pump = Pump(PumpConfig(drop_cache_above=threshold))
    near, far = await tcp_pair()

    async def send() -> None:
        await pump.send(near, FileReader(path), 0, size)
        near.shutdown(socket.SHUT_WR)

    async with trio.open_nursery() as both:
        both.start_soon(read_all, far)
        both.start_soon(send)

    assert is_cached(path, size) == is_kept
