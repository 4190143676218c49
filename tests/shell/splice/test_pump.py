import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from spegel_gossip.content import BlobReader, ContentStoreUnavailableError
from spegel_gossip.splice.conduit import Conduit
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.errors import SourceFailedError
from spegel_gossip.splice.plain import read_blob
from spegel_gossip.splice.pump import Pump
from spegel_gossip.testing.blob_sources import (
    FileReader,
    MemoryReader,
    ScriptedSegment,
    ScriptedSource,
    ScriptedStream,
    Then,
)

Sock = trio.socket.SocketType
Connect = Callable[[], Awaitable[tuple[Sock, Sock]]]
Blob = Callable[[int], bytes]

MIB = 1 << 20
SIZES = [0, 1, 4095, 4096, 65_536, 65_537, MIB, 5 * MIB + 13]
RANGES = [(0, 1), (1, 4096), (4095, 2), (100_000, 1_500_000), (2 * MIB - 1, MIB + 1)]


async def receive_all(sock: Sock) -> bytes:
    received = bytearray()
    while data := await sock.recv(256 << 10):
        received += data
    return bytes(received)


async def deliver(send: Callable[[Sock], Awaitable[Delivery]], connect: Connect) -> tuple[Delivery, bytes]:
    """Send through a loopback connection and return what came out at its end."""
    near, far = await connect()
    received = b""
    results: list[Delivery] = []

    async def sender() -> None:
        results.append(await send(near))
        near.shutdown(socket.SHUT_WR)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        received = await receive_all(far)
    return results[0], received


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_arrives_whole(size: int, tcp_pair: Connect, blob: Blob, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(blob(size))
    reader = FileReader(tmp_path / "blob")
    pump = Pump()

    delivery, received = await deliver(lambda sock: pump.send(sock, reader, 0, size), tcp_pair)

    assert delivery == Delivery(size, Ending.COMPLETE)
    assert received == blob(size)
    assert reader.is_closed


@pytest.mark.parametrize(("offset", "count"), RANGES)
async def test_a_range_of_a_file_arrives_exactly(
    offset: int, count: int, tcp_pair: Connect, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(3 * MIB))
    reader = FileReader(tmp_path / "blob")

    delivery, received = await deliver(lambda sock: Pump().send(sock, reader, offset, count), tcp_pair)

    assert delivery.moved == count
    assert received == blob(3 * MIB)[offset : offset + count]


async def test_a_file_that_is_not_in_the_page_cache_arrives_whole(
    tcp_pair: Connect, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(4 * MIB))
    reader = FileReader(tmp_path / "blob")
    fd = reader.fileno()
    assert fd is not None
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    _, received = await deliver(lambda sock: Pump().send(sock, reader, 0, 4 * MIB), tcp_pair)

    assert received == blob(4 * MIB)


async def test_a_file_cut_off_while_it_is_sent_is_a_failing_source(
    tcp_pair: Connect, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(MIB))
    reader = FileReader(tmp_path / "blob")
    os.truncate(tmp_path / "blob", 1000)

    delivery, received = await deliver(lambda sock: Pump().send(sock, reader, 0, MIB), tcp_pair)

    assert (delivery.moved, delivery.ending) == (1000, Ending.SOURCE_FAILED)
    assert received == blob(MIB)[:1000]


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_without_a_descriptor_arrives_whole(size: int, tcp_pair: Connect, blob: Blob) -> None:
    reader = MemoryReader(blob(size))

    delivery, received = await deliver(lambda sock: Pump().send(sock, reader, 0, size), tcp_pair)

    assert delivery.is_complete
    assert received == blob(size)
    assert reader.is_closed


@pytest.mark.parametrize("failure", [None, ContentStoreUnavailableError("containerd is gone")])
async def test_a_store_that_fails_in_the_middle_is_a_failing_source(
    failure: Exception | None, tcp_pair: Connect, blob: Blob
) -> None:
    reader = MemoryReader(blob(MIB), fail_at=300_000, failure=failure)

    delivery, received = await deliver(lambda sock: Pump().send(sock, reader, 0, MIB), tcp_pair)

    assert delivery.ending is Ending.SOURCE_FAILED
    assert blob(MIB).startswith(received)
    assert len(received) == delivery.moved < MIB


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("head", [0, 1, 4000])
async def test_a_stream_from_a_peer_arrives_whole(
    size: int, head: int, tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    stream = ScriptedStream(blob(size), [ScriptedSource(head=head)], nursery)

    delivery, received = await deliver(lambda sock: Pump().send(sock, stream, 0, size), tcp_pair)

    assert delivery == Delivery(size, Ending.COMPLETE)
    assert received == blob(size)
    assert stream.delivered == size


@pytest.mark.parametrize("then", list(Then))
@pytest.mark.parametrize("gives", [0, 1, 700_000])
async def test_the_next_source_goes_on_where_one_failed(
    then: Then, gives: int, tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    sources = [ScriptedSource(gives, then), ScriptedSource(gives, then, head=gives), ScriptedSource()]
    stream = ScriptedStream(blob(3 * MIB), sources, nursery)

    delivery, received = await deliver(lambda sock: Pump().send(sock, stream, 0, 3 * MIB), tcp_pair)

    assert delivery.is_complete
    assert received == blob(3 * MIB)
    if then is not Then.RESET:  # a reset may swallow bytes that were on their way
        assert stream.asked == [0, gives, 2 * gives]


async def test_a_range_of_a_stream_switches_sources_at_the_right_offset(
    tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    data = blob(3 * MIB)
    sources = [ScriptedSource(123_457, Then.CLOSE), ScriptedSource()]
    stream = ScriptedStream(data, sources, nursery, start=MIB, stop=2 * MIB)

    _, received = await deliver(lambda sock: Pump().send(sock, stream, MIB, MIB), tcp_pair)

    assert received == data[MIB : 2 * MIB]
    assert stream.asked == [MIB, MIB + 123_457]


async def test_when_every_source_failed_the_body_ends_short(
    tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    sources = [ScriptedSource(1000, Then.CLOSE), ScriptedSource(500, Then.STALL)]
    stream = ScriptedStream(blob(MIB), sources, nursery)

    delivery, received = await deliver(lambda sock: Pump().send(sock, stream, 0, MIB), tcp_pair)

    assert (delivery.moved, delivery.ending) == (1500, Ending.SOURCE_FAILED)
    assert "2 holders failed" in delivery.detail
    assert received == blob(MIB)[:1500]
    assert stream.delivered == 1500


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
async def test_where_splice_does_not_work_the_bytes_are_copied(
    error: int, tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    calls: list[int] = []

    def no_splice(source: int, target: int, count: int, *, flags: int) -> int:
        calls.append(count)
        raise OSError(error, "not here")

    sources = [ScriptedSource(400_000, Then.CLOSE), ScriptedSource(head=9)]
    stream = ScriptedStream(blob(MIB), sources, nursery)
    pump = Pump(make_conduit=lambda turn: Conduit(turn, splice=no_splice))

    _, received = await deliver(lambda sock: pump.send(sock, stream, 0, MIB), tcp_pair)

    assert received == blob(MIB)
    assert stream.asked == [0, 400_000]  # no source was blamed for it
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["file", "memory", "stream"])
async def test_a_client_that_closes_early_is_told_from_a_failing_source(
    kind: str, tcp_pair: Connect, blob: Blob, tmp_path: Path, nursery: trio.Nursery
) -> None:
    size = 24 * MIB  # more than the socket buffers of both ends hold
    (tmp_path / "blob").write_bytes(blob(size))
    stream = ScriptedStream(blob(size), [ScriptedSource()], nursery)
    sources: dict[str, BlobReader | ScriptedStream] = {
        "file": FileReader(tmp_path / "blob"),
        "memory": MemoryReader(blob(size)),
        "stream": stream,
    }
    near, far = await tcp_pair()
    results = []

    async def send() -> None:
        results.append(await Pump().send(near, sources[kind], 0, size))

    async with trio.open_nursery() as transfer:
        transfer.start_soon(send)
        await far.recv(4096)
        far.close()

    assert results[0].ending is Ending.CLIENT_GONE
    assert results[0].moved < size
    if kind == "stream":
        assert stream.asked == [0]  # no other source was bothered
        assert stream.delivered == results[0].moved


@pytest.mark.parametrize("kind", ["file", "memory", "stream"])
async def test_a_client_that_stops_reading_is_given_up(
    kind: str, tcp_pair: Connect, blob: Blob, tmp_path: Path, nursery: trio.Nursery
) -> None:
    size = 24 * MIB
    (tmp_path / "blob").write_bytes(blob(size))
    sources: dict[str, BlobReader | ScriptedStream] = {
        "file": FileReader(tmp_path / "blob"),
        "memory": MemoryReader(blob(size)),
        "stream": ScriptedStream(blob(size), [ScriptedSource()], nursery),
    }
    near, _ = await tcp_pair()
    pump = Pump(PumpConfig(progress_timeout=0.1))

    delivery = await pump.send(near, sources[kind], 0, size)

    assert delivery.ending is Ending.CLIENT_STALLED
    assert pump.active == 0


class NobodyTakesOver(ScriptedStream):
    async def next_segment(self, offset: int) -> ScriptedSegment:
        await trio.sleep_forever()
        raise AssertionError


async def test_bytes_that_pass_through_python_are_given_up_where_no_source_takes_over(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    stream = NobodyTakesOver(bytes(MIB), [], nursery)

    with pytest.raises(SourceFailedError, match="took over"):
        async for _ in read_blob(stream, 0, MIB):
            pass

    assert stream.delivered == 0


async def test_a_cancelled_transfer_closes_its_source(
    tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    stream = ScriptedStream(blob(MIB), [ScriptedSource(1000, Then.STALL)], nursery, stall_timeout=60)
    near, far = await tcp_pair()
    pump = Pump()

    async with trio.open_nursery() as transfer:
        transfer.start_soon(pump.send, near, stream, 0, MIB)
        received = 0
        while received < 1000:
            received += len(await far.recv(4096))
        transfer.cancel_scope.cancel()

    assert stream.delivered == 1000
    assert pump.active == 0


async def test_a_pipe_that_held_bytes_of_one_body_never_leaks_them_into_another(
    tcp_pair: Connect, blob: Blob, nursery: trio.Nursery
) -> None:
    # Long enough for a second body whose reader is on the same loop.
    pump = Pump(PumpConfig(progress_timeout=1.0))
    near, _ = await tcp_pair()
    stuck = ScriptedStream(blob(24 * MIB), [ScriptedSource()], nursery)
    assert (await pump.send(near, stuck, 0, 24 * MIB)).ending is Ending.CLIENT_STALLED
    stream = ScriptedStream(blob(MIB), [ScriptedSource()], nursery)

    _, received = await deliver(lambda sock: pump.send(sock, stream, 0, MIB), tcp_pair)

    assert received == blob(MIB)


async def test_a_hundred_transfers_at_once_all_arrive(
    tcp_pair: Connect, blob: Blob, tmp_path: Path, nursery: trio.Nursery
) -> None:
    size = MIB + 77
    expected = blob(size)
    (tmp_path / "blob").write_bytes(expected)
    pump = Pump()
    arrived = []

    async def one(number: int) -> None:
        source = (
            FileReader(tmp_path / "blob")
            if number % 2
            else ScriptedStream(expected, [ScriptedSource(600_000, Then.CLOSE), ScriptedSource()], nursery)
        )
        _, received = await deliver(lambda sock: pump.send(sock, source, 0, size), tcp_pair)
        arrived.append(received == expected)

    async with trio.open_nursery() as transfers:
        for number in range(100):
            transfers.start_soon(one, number)

    assert arrived == [True] * 100
    pump.close()


@pytest.mark.parametrize("kind", ["file", "memory", "stream"])
async def test_the_plain_reader_gives_the_same_bytes(
    kind: str, blob: Blob, tmp_path: Path, nursery: trio.Nursery
) -> None:
    data = blob(2 * MIB)
    (tmp_path / "blob").write_bytes(data)
    failing = [ScriptedSource(333_333, Then.STALL, head=10), ScriptedSource(1, Then.CLOSE), ScriptedSource()]
    stream = ScriptedStream(data, failing, nursery, start=100, stop=2 * MIB - 100)
    sources: dict[str, BlobReader | ScriptedStream] = {
        "file": FileReader(tmp_path / "blob"),
        "memory": MemoryReader(data),
        "stream": stream,
    }

    chunks = [chunk async for chunk in read_blob(sources[kind], 100, 2 * MIB - 200)]

    assert b"".join(chunks) == data[100:-100]
    if kind == "stream":
        assert stream.delivered == 2 * MIB - 200
