"""Nodes on loopback that take part in membership, with timers short enough for a test."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spegel_gossip.gossip.driver import Gossip
from spegel_gossip.gossip.memory import MemberMemory
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.events import MembershipEvent, NoteReceived
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets

FAST = SwimConfig(
    probe_interval=0.1,
    probe_timeout=0.05,
    gossip_interval=0.01,
    push_pull_interval=1.0,
    suspicion_alpha=4.0,
    suspicion_beta=1.0,
)
PATIENCE = 10.0
KEYRING = Keyring((bytes(range(32)),))


@dataclass(eq=False)
class Node:
    """One member, and what it was told."""

    name: str
    address: Address
    gossip: Gossip
    memory: MemberMemory
    client: PeerClient
    credentials: Credentials
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    events: list[MembershipEvent] = field(default_factory=list)
    _happened: trio.Event = field(default_factory=trio.Event)

    def tell(self, event: MembershipEvent) -> None:
        self.events.append(event)
        self._happened.set()
        self._happened = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await self._happened.wait()

    async def until_live(self, *names: str) -> None:
        await self.until(lambda: self.live() == set(names))

    async def until_told(self, wanted: type[MembershipEvent], name: str) -> None:
        await self.until(lambda: name in self.told(wanted))

    def told(self, wanted: type[MembershipEvent]) -> list[str]:
        return [
            event.name if isinstance(event, NoteReceived) else event.member.name  # type: ignore[union-attr] # callers ask for events about members
            for event in self.events
            if isinstance(event, wanted)
        ]

    def live(self) -> set[str]:
        return {member.name for member in self.gossip.members() if member.is_live}

    def state_of(self, name: str) -> MemberState | None:
        member = self.gossip.get(name)
        return None if member is None else member.state

    def crash(self) -> None:
        """Stop without a word."""
        self.scope.cancel()

    async def stop(self) -> None:
        """Stop without a word, and wait for the sockets to be closed."""
        self.crash()
        await self.ended.wait()


class Nodes:
    """Makes nodes, and ends them with the test."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack, state_dir: Path) -> None:
        self._nursery = nursery
        self._stack = stack
        self._state_dir = state_dir
        self._made = 0

    async def start(
        self,
        name: str,
        seeds: Sequence[Address] = (),
        *,
        keyring: Keyring | None = KEYRING,
        accepts_plaintext: bool = False,
        cluster: str = "test",
        port: int = 0,
        config: SwimConfig = FAST,
        seed_hosts: Sequence[str] = (),
        is_deaf: bool = False,
        directory: str = "",
        clock: Callable[[], float] = time.time,
        hosts: Sequence[str] = ("127.0.0.1",),
        listens_on: str = "::",
    ) -> Node:
        """Start a node.

        Args:
            name: its name
            seeds: where it looks for the others
            keyring: None for plaintext
            accepts_plaintext: whether it understands both
            cluster: the cluster's name
            port: 0 for any
            config: the protocol's numbers
            seed_hosts: addresses of its own that are seeds too
            is_deaf: datagrams do not reach it
            directory: where its state is kept; its name's if empty
            clock: its idea of unix time
            hosts: where it says that it is
            listens_on: where it is
        """
        self._made += 1
        sockets = open_peer_sockets(listens_on, port)
        state_dir = self._state_dir / (directory or name)
        state_dir.mkdir(exist_ok=True)
        memory = MemberMemory(state_dir)
        addresses = tuple(Address(host, sockets.port) for host in hosts)
        address = addresses[0]
        record = MemberRecord(name, memory.next_boot(clock()), addresses)
        credentials = Credentials(name, record.boot, cluster, keyring, accepts_plaintext)
        datagrams = Datagrams(sockets.udp, credentials)
        server = PeerServer(sockets.tcp, credentials, clock=clock)
        client = PeerClient(credentials, clock=clock)

        async def find_seeds() -> Sequence[Address]:
            return [*seeds, *(Address(host, address.port) for host in seed_hosts)]

        told: list[Callable[[MembershipEvent], None]] = []
        gossip = Gossip(
            record,
            config,
            random.Random(self._made),
            credentials=credentials,
            datagrams=datagrams,
            server=server,
            client=client,
            memory=memory,
            find_seeds=find_seeds,
            on_event=lambda event: told[0](event),
            clock=clock,
        )
        node = Node(name, address, gossip, memory, client, credentials)
        told.append(node.tell)

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            try:
                with node.scope:
                    async with trio.open_nursery() as nursery:
                        if not is_deaf:
                            await nursery.start(datagrams.run)
                        await nursery.start(server.run)
                        await nursery.start(gossip.run)
                        task_status.started()
            finally:
                client.close()
                sockets.close()
                node.ended.set()

        await self._nursery.start(run)
        return node
