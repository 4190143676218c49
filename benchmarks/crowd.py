"""The other 999 members of a large cluster, in one process that does the least a member must.

Each has its name, its port and its keys. They ack pings and advertisements and answer push-pulls, and one
of them pings the node under test each second, which is what a node in a cluster of any size gets.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from spegel_gossip.directory import codec as directory_codec
from spegel_gossip.directory.messages import Ack as AdvertisementAck
from spegel_gossip.directory.messages import AckStatus, Advertise
from spegel_gossip.swim import codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.exchange_codec import encode_push_pull
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, Ping
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams, Sender
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring, load_keyring
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets

HOST = "127.0.0.1"
BOOT_AGE_MS = 60_000


class Crowd:
    """The members, and the table that all of them answer push-pulls from."""

    def __init__(self, count: int, keyring: Keyring, cluster: str, boot: int) -> None:
        self.boot = boot
        self.records: list[MemberRecord] = []
        self._sockets = [open_peer_sockets(HOST, 0) for _ in range(count)]
        self._lines: list[Datagrams] = []
        self._servers: list[PeerServer] = []
        for number, sockets in enumerate(self._sockets):
            record = MemberRecord(f"crowd-{number:04d}", boot, (Address(HOST, sockets.port),))
            credentials = Credentials(record.name, boot, cluster, keyring)
            line = Datagrams(sockets.udp, credentials)
            line.handle(DatagramKind.GOSSIP, partial(self._gossip, line))
            line.handle(DatagramKind.DIRECTORY, partial(self._directory, line))
            server = PeerServer(sockets.tcp, credentials, clock=time.time)
            server.route("/gossip/push-pull", self._push_pull)
            server.route("/gossip/ping", self._ping)
            self.records.append(record)
            self._lines.append(line)
            self._servers.append(server)
        self._table = Swim(self.records[0], SwimConfig(), random.Random(1))
        others = tuple(Claim(record, boot, MemberState.ALIVE) for record in self.records[1:])
        self._table.answer_push_pull(encode_push_pull(BucketClaims("crowd", 0, (), others)), "crowd", 0.0)

    async def run(self, say: Callable[[int], None]) -> None:
        """Answer for ever; `say` hears the port of a seed."""
        async with trio.open_nursery() as nursery:
            for line, server in zip(self._lines, self._servers, strict=True):
                nursery.start_soon(line.run)
                nursery.start_soon(server.run)
            say(self._sockets[0].port)
            rng = random.Random(1)
            while True:
                await trio.sleep(1.0)
                line = rng.choice(self._lines)
                for member in self._table.members():
                    if not member.name.startswith("crowd-"):
                        ping = codec.encode(Ping(1, self.boot))
                        target = member.record
                        line.send(DatagramKind.GOSSIP, ping, to=target.addresses[0], target=target.name)

    def _gossip(self, line: Datagrams, body: bytes, sender: Sender) -> None:
        for message in codec.decode_datagram_untrusted(body):
            if isinstance(message, Ping):
                ack = codec.encode(Ack(message.seq, self.boot))
                line.send(DatagramKind.GOSSIP, ack, to=sender.address, target=sender.name)

    def _directory(self, line: Datagrams, body: bytes, sender: Sender) -> None:
        message = directory_codec.decode_untrusted(body)
        if isinstance(message, Advertise):
            ack = directory_codec.encode(AdvertisementAck(message.id, AckStatus.OK))
            line.send(DatagramKind.DIRECTORY, ack, to=sender.address, target=sender.name)

    async def _push_pull(self, request: PeerRequest, exchange: PeerExchange) -> None:
        body = self._table.answer_push_pull(request.body, request.sender, trio.current_time())
        await exchange.answer(200, body=body, sealed=True)

    async def _ping(self, _request: PeerRequest, exchange: PeerExchange) -> None:
        await exchange.answer(200, sealed=True)


def main() -> None:
    """Run a crowd until killed; the seed's port goes to a file."""
    parser = argparse.ArgumentParser(prog="benchmarks/crowd.py", description=__doc__)
    parser.add_argument("--members", type=int, default=999)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--cluster", default="spegel-gossip")
    parser.add_argument("--port-file", type=Path, required=True)
    given = parser.parse_args()

    def say(port: int) -> None:
        given.port_file.with_suffix(".new").write_text(str(port))
        given.port_file.with_suffix(".new").rename(given.port_file)

    boot = round(time.time() * 1000) - BOOT_AGE_MS
    crowd = Crowd(given.members, load_keyring(given.key_file), given.cluster, boot)
    trio.run(crowd.run, say)


if __name__ == "__main__":
    main()
