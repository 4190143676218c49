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
from typing import TypeVar

import trio
from prometheus_client import REGISTRY

from spegel_gossip.errors import DecodeError
from spegel_gossip.gossip.announcer import Announcer
from spegel_gossip.gossip.long_lived import LongLived
from spegel_gossip.gossip.memory import MemberMemory
from spegel_gossip.gossip.metrics import GossipCollector, GossipStatus
from spegel_gossip.gossip.seeking import FindSeeds, Remembering, run_seeking
from spegel_gossip.routing import Peer
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
from spegel_gossip.swim.exchanges import Turns
from spegel_gossip.swim.introspection import MemberDetail, NameConflict
from spegel_gossip.swim.member import Member, MemberRecord
from spegel_gossip.swim.outbox import PushPull, Stream, TcpPing
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams, Sender
from spegel_gossip.wire.errors import WireError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer

PUSH_PULL_PATH = "/gossip/push-pull"
PING_PATH = "/gossip/ping"

PUSH_PULL_TIMEOUT = 10.0
"""Seconds for each of the two requests (memberlist's TCPTimeout)."""

MAX_STREAMS = 32
"""Push-pulls and TCP pings under way; the engine asks for far fewer."""

MAX_ANSWERS = 16
"""Push-pulls of others that are answered at a time; the rest wait in line. At 5,000 members an answer
may have half a megabyte, and when thousands start at once, thousands ask the same seed."""

LEAVE_TIMEOUT = 1.0
"""Seconds to tell the others that we go; whoever misses it hears it from the rest."""

OnEvent = Callable[[MembershipEvent], None]
T = TypeVar("T")


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
        self._answering = trio.CapacityLimiter(MAX_ANSWERS)
        self._remembering = Remembering(memory, self._addresses_of_others, rng)
        self._streams = 0
        datagrams.handle(DatagramKind.GOSSIP, self._receive)
        server.route(PUSH_PULL_PATH, self._answer_push_pull)
        server.route(PING_PATH, self._answer_ping)

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
        detail = self._engine.detail(name, trio.current_time())
        return detail is not None and detail.is_udp_blocked

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
            streams_open=self._streams,
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

    async def _answer_push_pull(self, request: PeerRequest, exchange: PeerExchange) -> None:
        if request.method != "POST":
            await exchange.answer(405, headers={"Allow": "POST"})
            return
        async with self._answering:
            body = await self._in_turns(self._engine.answer_push_pull_in_turns(request.body, request.sender))
            await exchange.answer(200, body=body, sealed=True)

    async def _answer_ping(self, _request: PeerRequest, exchange: PeerExchange) -> None:
        await exchange.answer(200, sealed=True)

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
                self._open(stream, self._nursery)
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

    def _open(self, stream: Stream, nursery: trio.Nursery) -> None:
        if self._streams >= MAX_STREAMS:
            if isinstance(stream, PushPull):
                self._engine.push_pull_failed(stream, trio.current_time())
            return
        self._streams += 1
        nursery.start_soon(self._run_stream, stream)

    async def _run_stream(self, stream: Stream) -> None:
        try:
            match stream:
                case PushPull():
                    await self._push_pull(stream)
                case TcpPing():
                    await self._tcp_ping(stream)
        finally:
            self._streams -= 1
            self._settle()

    async def _push_pull(self, exchange: PushPull) -> None:
        engine = self._engine
        peer = Peer(exchange.peer, "", exchange.addresses)
        try:
            answer = await self._post(peer, engine.push_pull_hashes(trio.current_time()))
            claims = await self._in_turns(engine.push_pull_claims_in_turns(answer, exchange))
            if claims is not None:
                await self._post(peer, claims)
        except (WireError, DecodeError) as exc:
            self._announcer.tell_failure(exchange.peer, exchange.addresses, str(exc))
            engine.push_pull_failed(exchange, trio.current_time())
        else:
            engine.push_pull_done(exchange, trio.current_time())

    async def _in_turns(self, turns: Turns[T]) -> T:
        """Have the engine work through a body; between two turns all others on the loop have theirs."""
        next(turns)
        while True:
            try:
                turns.send(trio.current_time())
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self._settle()
            await trio.lowlevel.checkpoint()

    async def _post(self, peer: Peer, body: bytes) -> bytes:
        answer = await self._client.call(peer, "POST", PUSH_PULL_PATH, body=body, timeout=PUSH_PULL_TIMEOUT)
        if answer.status != 200:
            raise DecodeError(f"push-pull was answered with {answer.status}")
        return answer.body

    async def _tcp_ping(self, ping: TcpPing) -> None:
        peer = Peer(ping.peer, "", ping.addresses)
        try:
            answer = await self._client.call(peer, "GET", PING_PATH)
        except WireError:
            return
        if answer.status == 200:
            self._engine.tcp_ping_answered(ping, trio.current_time())

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
        return [
            member.record.addresses[0]
            for member in self._engine.members()
            if member.is_live and member.name != self._credentials.name
        ]
