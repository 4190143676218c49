"""The driver: the one holder of the membership engine.

Everybody else speaks to the engine through `Gossip`. Each of its methods that
changes something carries the effects out at once and moves the timer, so nobody has
to know that a call may make the next deadline earlier.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import inf

import trio
from prometheus_client import REGISTRY

from spegel_gossip.gossip.announcer import Announcer
from spegel_gossip.gossip.long_lived import LongLived
from spegel_gossip.gossip.memory import MemberMemory
from spegel_gossip.gossip.metrics import GossipCollector, GossipStatus
from spegel_gossip.gossip.seeking import FindSeeds, Remembering, run_seeking
from spegel_gossip.gossip.streams import PING_PATH, PUSH_PULL_PATH, Streams
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.events import (
    BootRaised,
    ClockDiffers,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MembershipEvent,
)
from spegel_gossip.swim.introspection import MemberDetail, NameConflict
from spegel_gossip.swim.member import Member, MemberRecord
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams, Sender
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer

LEAVE_TIMEOUT = 1.0
"""Seconds to tell the others that we go; whoever misses it hears it from the rest."""

OnEvent = Callable[[MembershipEvent], None]


class Gossip:
    """This node's membership of the cluster.

    The boot in its record may be raised once it hears what the cluster remembers; the
    credentials and the memory follow.
    """

    def __init__(
        self,
        record: MemberRecord,
        config: SwimConfig,
        rng: random.Random,
        *,
        credentials: Credentials,
        datagrams: Datagrams,
        server: PeerServer,
        client: PeerClient,
        memory: MemberMemory,
        find_seeds: FindSeeds,
        on_event: OnEvent,
        clock: Callable[[], float],
    ) -> None:
        """Register the handlers; nothing is sent before `run`.

        Args:
            record: what we say of ourselves
            config: the protocol's numbers; datagrams are shortened to what the wire carries
            rng: chance, for the engine and for jitter
            credentials: those of the wire
            datagrams: the UDP socket
            server: the TCP listener
            client: requests to others
            memory: what was remembered from the last life
            find_seeds: asked at the start and then for ever; must not raise
            on_event: told of every event, in order; must not block
            clock: unix seconds, as acks tell them to others
        """
        room = min(config.max_datagram_bytes, datagrams.max_body)
        self._engine = Swim(record, replace(config, max_datagram_bytes=room), rng)
        self._rng = rng
        self._credentials = credentials
        self._datagrams = datagrams
        self._client = client
        self._memory = memory
        self._find_seeds = find_seeds
        self._on_event = on_event
        self._clock = clock
        self._announcer = Announcer()
        self._long_lived = LongLived()
        self._nursery: trio.Nursery | None = None
        self._is_settling = False
        self._sleeps_until = inf
        self._wake = trio.Event()
        self._left = trio.Event()
        self._remembering = Remembering(memory, self._addresses_of_others, rng)
        self._streams = Streams(self._engine, client, self._announcer, self._settle)
        datagrams.handle(DatagramKind.GOSSIP, self._receive)
        server.route(PUSH_PULL_PATH, self._streams.answer_push_pull)
        server.route(PING_PATH, self._streams.answer_ping)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled. Started: the first seeds are being looked for."""
        with ExitStack() as stack:
            collector = GossipCollector(self.status)
            REGISTRY.register(collector)
            stack.callback(REGISTRY.unregister, collector)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                stack.callback(setattr, self, "_nursery", None)
                self._engine.start(trio.current_time())
                self._settle()
                nursery.start_soon(self._announcer.run)
                nursery.start_soon(self._remembering.run)
                nursery.start_soon(
                    run_seeking, self._find_seeds, self._join, self._is_alone, self._memory, self._rng
                )
                task_status.started()
                await self._run_timer()

    async def leave(self) -> None:
        """Tell the others that we go; `run` must still be running. At most `LEAVE_TIMEOUT`."""
        self._engine.leave(trio.current_time())
        self._settle()
        with trio.move_on_after(LEAVE_TIMEOUT):
            await self._left.wait()

    def set_note(self, member: str, note: bytes) -> None:
        """Have pings and acks to a member bear a note; empty for none."""
        self._engine.set_note(member, note)

    def change_record(self, record: MemberRecord) -> None:
        """Tell the others of new addresses, another zone or version of ours."""
        self._engine.change_record(record, trio.current_time())
        self._settle()

    @property
    def own(self) -> Member:
        """Ourselves, as the cluster is told."""
        return self._engine.own

    @property
    def has_reached_seed(self) -> bool:
        """Whether anybody else was ever met; readiness waits for it, but not for long."""
        return self._engine.has_company

    @property
    def conflicts(self) -> tuple[NameConflict, ...]:
        """Other processes that live under our name."""
        return self._engine.conflicts

    def members(self) -> list[Member]:
        """Return all members, ourselves and the ex-members included."""
        return self._engine.members()

    def get(self, name: str) -> Member | None:
        """Return one member; None if it is unknown."""
        return self._engine.get(name)

    def is_udp_blocked(self, name: str) -> bool:
        """Return whether a member answers over TCP only."""
        return self._engine.is_udp_blocked(name)

    def details(self) -> list[MemberDetail]:
        """Return all that is known of everybody."""
        return self._engine.details(trio.current_time())

    def status(self) -> GossipStatus:
        """Return how membership stands."""
        engine = self._engine
        return GossipStatus(
            members=engine.members(),
            local_health=engine.local_health,
            queue_length=engine.queue_length,
            streams_open=self._streams.under_way,
            counters=replace(engine.counters),
        )

    # What the network says.

    def _receive(self, body: bytes, sender: Sender) -> None:
        now = trio.current_time()
        try:
            # Each time, because it may have been set since.
            self._engine.set_clock(self._clock(), now)
            self._engine.receive_datagram(body, sender.address, sender.name, now)
        finally:
            self._settle()

    # What the engine wants.

    def _settle(self) -> None:
        """Carry out the engine's effects until there are none, and move the timer."""
        if self._is_settling:
            return  # called from `on_event`: the loop below goes on until all is done
        self._is_settling = True
        try:
            while self._carry_out():
                pass
        finally:
            self._is_settling = False
        next_at = self._engine.next_timer_at()
        if next_at is not None and next_at < self._sleeps_until:
            self._wake.set()
        if self._engine.has_left:
            self._left.set()

    def _carry_out(self) -> bool:
        datagrams, events = self._engine.datagrams_to_send(), self._engine.events()
        for datagram in datagrams:
            self._datagrams.send(DatagramKind.GOSSIP, datagram.data, to=datagram.to, target=datagram.target)
        if self._nursery is not None:
            for stream in self._engine.streams_to_open():
                self._streams.open(stream, self._nursery)
        for event in events:
            self._tell(event)
        return bool(events)

    def _tell(self, event: MembershipEvent) -> None:
        match event:
            case BootRaised(boot):
                self._credentials.boot = boot
                self._memory.remember_boot(boot)
            case ClockDiffers(member, seconds):
                self._client.set_clock_offset(member.name, seconds)
            case MemberJoined():
                self._remembering.changed()
                self._long_lived.grown_to(self._engine.n)
            case MemberDied() | MemberLeft():
                self._remembering.changed()
            case _:
                pass
        self._announcer.tell(event)
        self._on_event(event)

    # Time.

    async def _run_timer(self) -> None:
        while True:
            self._wake = trio.Event()
            next_at = self._engine.next_timer_at()
            self._sleeps_until = inf if next_at is None else next_at
            with trio.move_on_at(self._sleeps_until):
                await self._wake.wait()
            self._engine.handle_timer(trio.current_time())
            self._settle()

    def _join(self, seeds: Sequence[Address]) -> None:
        self._engine.join(seeds, trio.current_time())
        self._settle()

    def _is_alone(self) -> bool:
        return self._engine.n == 1

    def _addresses_of_others(self) -> list[Address]:
        # Where each is sent to: it may advertise one first that does not lead there from here.
        return [
            detail.address
            for detail in self._engine.details(trio.current_time())
            if detail.member.is_live and detail.member.name != self._credentials.name
        ]
