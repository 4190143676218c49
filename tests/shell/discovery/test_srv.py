from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
import trio

from spegel_gossip.discovery.dns_message import encode_question
from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.discovery.srv import SERVER_TIMEOUT, SrvSeeds, configured_servers
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.sockets import open_peer_sockets

NAME = "_peers-udp._udp.mirror.svc.cluster.local"
QUESTION = encode_question(0, NAME)[12:]
ANSWER, TRUNCATED, NO_SUCH_NAME, REFUSED = 0x8180, 0x8380, 0x8183, 0x8185

Reply = Callable[[bytes], bytes]


def replying(*targets: tuple[str, int], flags: int = ANSWER) -> Reply:
    def reply(question: bytes) -> bytes:
        assert question[12:] == QUESTION
        records = b""
        for host, port in targets:
            name = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
            data = struct.pack("!HHH", 0, 0, port) + name
            records += b"\xc0\x0c" + struct.pack("!HHIH", 33, 1, 5, len(data)) + data
        return question[:2] + struct.pack("!HHHHH", flags, 1, len(targets), 0, 0) + QUESTION + records

    return reply


class NameServer:
    """A name server on loopback, over UDP and TCP on one port; it says what it is told to."""

    def __init__(self, by_datagram: Reply | None, by_stream: Reply | None) -> None:
        self._by_datagram = by_datagram
        self._by_stream = by_stream

    async def run(self, *, task_status: trio.TaskStatus[Address]) -> None:
        sockets = open_peer_sockets("127.0.0.1", 0)  # a port that is free for both
        udp, tcp = map(trio.socket.from_stdlib_socket, (sockets.udp, sockets.tcp))
        with udp, tcp:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_datagrams, udp)
                nursery.start_soon(self._serve_streams, tcp)
                task_status.started(Address("127.0.0.1", sockets.port))

    async def _serve_datagrams(self, udp: trio.socket.SocketType) -> None:
        while True:
            question, sender = await udp.recvfrom(4096)
            if self._by_datagram is not None:
                # A late answer to another question first, which must not be taken for this one's.
                await udp.sendto(b"\0\0" + self._by_datagram(question)[2:], sender)
                await udp.sendto(self._by_datagram(question), sender)

    async def _serve_streams(self, tcp: trio.socket.SocketType) -> None:
        while True:
            sock, _ = await tcp.accept()
            with sock:
                question = (await sock.recv(4096))[2:]
                if self._by_stream is not None:
                    answer = self._by_stream(question)
                    framed = struct.pack("!H", len(answer)) + answer
                    # In two pieces, as a network may deliver it.
                    await sock.send(framed[:30])
                    await sock.send(framed[30:])


async def seeds_of(nursery: trio.Nursery, *servers: NameServer) -> SrvSeeds:
    addresses = [await nursery.start(server.run) for server in servers]
    return SrvSeeds(NAME, rng=random.Random(1), servers=lambda: addresses)


async def test_targets_are_members_each_at_its_own_port(nursery: trio.Nursery) -> None:
    server = NameServer(replying(("10.0.0.1", 29501), ("10.0.0.2", 7)), None)
    seeds = await seeds_of(nursery, server)

    assert await seeds.find() == [Address("10.0.0.1", 29501), Address("10.0.0.2", 7)]
    assert seeds.name == f"--seed-dns {NAME}"


async def test_an_answer_too_long_for_a_datagram_is_asked_for_over_tcp(nursery: trio.Nursery) -> None:
    many = [(f"10.0.{number}.1", 29501) for number in range(200)]
    server = NameServer(replying(flags=TRUNCATED), replying(*many))
    seeds = await seeds_of(nursery, server)

    first, second = await seeds.find(), await seeds.find()

    # Other ones each time, so that no member is everybody's seed.
    assert len(first) == len(second) == 16
    assert first != second


async def test_a_server_that_hangs_lies_or_refuses_is_followed_by_the_next(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    servers = [
        NameServer(replying(flags=REFUSED), None),
        NameServer(lambda _: b"lies", None),
        NameServer(replying(("10.0.0.1", 29501)), None),
    ]
    seeds = await seeds_of(nursery, *servers)

    assert await seeds.find() == [Address("10.0.0.1", 29501)]
    assert trio.current_time() < 2 * SERVER_TIMEOUT


async def test_a_name_that_is_not_there_is_no_reason_to_ask_others(nursery: trio.Nursery) -> None:
    seeds = await seeds_of(nursery, NameServer(replying(flags=NO_SUCH_NAME), None))

    with pytest.raises(DiscoveryError, match="no SRV records"):
        await seeds.find()


async def test_no_server_at_all_is_a_discovery_error() -> None:
    with pytest.raises(DiscoveryError, match="names no server"):
        await SrvSeeds(NAME, rng=random.Random(1), servers=list).find()


async def test_a_stream_that_ends_early_is_a_discovery_error(nursery: trio.Nursery) -> None:
    seeds = await seeds_of(nursery, NameServer(replying(flags=TRUNCATED), None))

    with pytest.raises(DiscoveryError, match="does not answer"):
        await seeds.find()


async def test_targets_that_do_not_resolve_are_a_discovery_error(nursery: trio.Nursery) -> None:
    seeds = await seeds_of(nursery, NameServer(replying(("x" * 40 + ".invalid", 1)), None))

    with pytest.raises(DiscoveryError, match="does not resolve"):
        await seeds.find()


def test_the_servers_of_this_machine_can_be_read() -> None:
    assert all(server.port == 53 for server in configured_servers())
