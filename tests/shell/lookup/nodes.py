"""Nodes on loopback with both peer sockets and a router; membership is fed by hand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spegel_gossip.lookup.config import LookupConfig
from spegel_gossip.lookup.lookup import Lookup
from spegel_gossip.lookup.reaching import Reacher
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import MemberDied, MemberJoined, NoteReceived
from spegel_gossip.swim.member import Member, MemberRecord, MemberState
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets


class CountingDatagrams(Datagrams):
    """Counts what is sent, and loses all of it on demand."""

    sent = 0
    is_blocked = False

    def send(self, kind: DatagramKind, body: bytes, *, to: Address, target: str) -> None:
        self.sent += 1
        if not self.is_blocked:
            super().send(kind, body, to=to, target=target)


async def until_true(holds: Callable[[], bool]) -> None:
    """Wait for what happens elsewhere."""
    with trio.fail_after(10.0):
        while True:
            if holds():
                return
            await trio.sleep(0.01)


@dataclass
class Node:
    """One node."""

    record: MemberRecord
    lookup: Lookup
    datagrams: CountingDatagrams
    server: PeerServer
    scope: trio.CancelScope
    stored: dict[Digest, None] = field(default_factory=dict)
    hidden_tags: dict[TagName, None] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    udp_blocked: dict[str, None] = field(default_factory=dict)
    """Members that membership reaches over TCP only."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def member(self) -> Member:
        return Member(self.record, MemberState.ALIVE, 1)

    def meets(self, *others: Node) -> None:
        """Have both sides know each other live."""
        for other in others:
            self.lookup.on_membership(MemberJoined(other.member))
            other.lookup.on_membership(MemberJoined(self.member))

    def buries(self, other: Node) -> None:
        self.lookup.on_membership(MemberDied(other.member))

    def pings(self, other: Node) -> None:
        """Take the note for a member there."""
        other.lookup.on_membership(NoteReceived(self.name, self.notes.get(other.name, b"")))


class Nodes:
    """Makes nodes and stops them at the end of the test."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack, keyring: Keyring) -> None:
        self._nursery = nursery
        self._stack = stack
        self._keyring = keyring

    async def make(
        self,
        name: str,
        *,
        zone: str = "",
        boot: int = 1,
        state_dir: Path | None = None,
        reacher: Reacher | None = None,
    ) -> Node:
        sockets = open_peer_sockets("127.0.0.1", 0)
        self._stack.callback(sockets.close)
        credentials = Credentials(name=name, boot=boot, cluster="test", keyring=self._keyring)
        record = MemberRecord(name, boot, (Address("127.0.0.1", sockets.port),), zone)
        datagrams = CountingDatagrams(sockets.udp, credentials)
        server = PeerServer(sockets.tcp, credentials, clock=time.time)
        client = PeerClient(credentials, clock=time.time)
        self._stack.callback(client.close)
        stored: dict[Digest, None] = {}
        hidden: dict[TagName, None] = {}
        notes: dict[str, bytes] = {}
        blocked: dict[str, None] = {}

        async def has(digest: Digest) -> bool:
            await trio.lowlevel.checkpoint()
            return digest in stored

        lookup = Lookup(
            record,
            datagrams=datagrams,
            client=client,
            server=server,
            has=has,
            set_note=notes.__setitem__,
            is_udp_blocked=blocked.__contains__,
            may_advertise=lambda tag: tag not in hidden,
            rng=random.Random(name),
            reacher=reacher,
            config=LookupConfig(
                spread_interval=0.05, state_dir=state_dir, advertises_reached_only=reacher is not None
            ),
        )
        scope = trio.CancelScope()
        node = Node(record, lookup, datagrams, server, scope, stored, hidden, notes, blocked)
        await self._nursery.start(self._run, node)
        return node

    async def three(self) -> tuple[Node, Node, Node]:
        """Return three nodes who know each other."""
        a, b, c = [await self.make(name) for name in ("a", "b", "c")]
        a.meets(b, c)
        b.meets(c)
        return a, b, c

    async def _run(self, node: Node, *, task_status: trio.TaskStatus[None]) -> None:
        with node.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(node.datagrams.run)
                await nursery.start(node.server.run)
                await nursery.start(node.lookup.run)
                task_status.started()
