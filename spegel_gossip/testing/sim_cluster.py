"""A cluster of real engines on a simulated network, in one thread and no time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.events import MembershipEvent
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.outbox import Datagram, PushPull, Stream, TcpPing
from spegel_gossip.testing.sim_network import SimNetwork

PORT = 29501
EPOCH_MS = 1_700_000_000_000
"""The wall clock when the simulation starts, in unix milliseconds."""

MAX_INBOX = 256
"""Datagrams that wait for a paused node; a socket buffer drops its tail as well."""

SETTLE_STEP = 0.1

OnEvent = Callable[[float, str, MembershipEvent], None]


@dataclass(slots=True)
class SimNode:
    """One machine: its engine while it runs, and what came in while it was paused."""

    name: str
    address: Address
    engine: Swim
    is_running: bool = True
    is_paused: bool = False
    is_stalling: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)
    inbox: list[tuple[bytes, Address, str]] = field(default_factory=list)
    timer_at: float | None = None

    @property
    def is_awake(self) -> bool:
        """Whether it takes part at this moment."""
        return self.is_running and not self.is_paused


class SimCluster:
    """`n` nodes, n0 to n<n-1>, that join through n0 at time 0."""

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        config: SwimConfig | None = None,
        loss: float = 0.0,
        duplication: float = 0.0,
        on_event: OnEvent | None = None,
    ) -> None:
        """Start the nodes at time 0.

        Args:
            n: how many
            seed: of all chance
            config: the protocol's numbers
            loss: chance of each datagram to be lost
            duplication: chance of each to arrive twice
            on_event: told (when, who noticed, what) in place of `log`, which a thousand nodes would fill
        """
        self._rng = random.Random(seed)
        self._config = config or SwimConfig()
        self.network = SimNetwork(self._rng, loss=loss, duplication=duplication)
        self.log: list[tuple[float, str, MembershipEvent]] = []
        self._on_event = on_event or self._keep
        self.on_datagram: Callable[[str, Datagram], None] | None = None
        """Sees (source, datagram) of all that is sent."""
        self.nodes: dict[str, SimNode] = {}
        self._by_address: dict[Address, SimNode] = {}
        self._addresses = 0
        for index in range(n):
            self.add(f"n{index}")

    @property
    def now(self) -> float:
        """The simulated time in seconds."""
        return self.network.now

    def add(self, name: str, *, seeds: Sequence[str] = ("n0",), address: Address | None = None) -> SimNode:
        """Start another node that knows the addresses of `seeds`, not their names."""
        node = self._place(name, address or self._new_address())
        self.nodes[name] = node
        self._begin(node, seeds)
        return node

    def twin(self, name: str, *, seeds: Sequence[str] = ("n0",)) -> SimNode:
        """Start a second process under the name of a node that goes on; `nodes` shows the first."""
        node = self._place(name, self._new_address())
        self._begin(node, seeds)
        return node

    def restart(self, name: str, *, seeds: Sequence[str] = ("n0", "n1"), moved: bool = False) -> None:
        """Start a node again under its name, in a new life, at its old address or a new one."""
        node = self.nodes[name]
        if moved:
            del self._by_address[node.address]
            node.address = self._new_address()
            self._by_address[node.address] = node
        node.engine = self._engine(name, node.address)
        node.is_running, node.is_paused, node.is_stalling, node.timer_at = True, False, False, None
        node.held.clear()
        node.inbox.clear()
        self._begin(node, seeds)

    def stop(self, name: str) -> None:
        """Kill a node: no word to anybody."""
        self.nodes[name].is_running = False

    def pause(self, name: str) -> None:
        """Stop a node's time (SIGSTOP); what is sent to it waits."""
        self.nodes[name].is_paused = True

    def stall(self, name: str) -> None:
        """Let a node's next send block: it goes on until then, and what comes in waits."""
        self.nodes[name].is_stalling = True

    def unstall(self, name: str) -> None:
        """Let the send that blocks return. Timers ran on: it judges before it hears the defence."""
        node = self.nodes[name]
        held, node.held = node.held, []
        node.is_stalling = node.is_paused = False
        for effect in held:
            effect()
        self._run_timer(node)
        self.resume(name)

    def resume(self, name: str) -> None:
        """Let a paused node go on: it reads what came in, then sees how late it is."""
        node = self.nodes[name]
        node.is_paused = False
        inbox, node.inbox = node.inbox, []
        for data, sender, sender_name in inbox:
            self._receive(node, data, sender, sender_name)
        self._run_timer(node)

    def leave(self, name: str) -> None:
        """Have a node leave, and stop once it has told the others."""
        node = self.nodes[name]
        node.engine.leave(self.now)
        self._settle_effects(node)

    def run_until(self, when: float) -> None:
        """Let time pass."""
        self.network.run_until(when)

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(self.now + seconds)

    def run_until_true(self, condition: Callable[[], bool], *, within: float) -> float:
        """Let time pass until something holds; return how long it took.

        Raises:
            TimeoutError: it does not hold within that time.
        """
        began_at = self.now
        while not condition():
            if self.now - began_at > within:
                raise TimeoutError(f"not within {within} s of simulated time")
            self.run_for(SETTLE_STEP)
        return self.now - began_at

    def settle(self, *, within: float = 30.0) -> float:
        """Let time pass until all running nodes hold each other ALIVE and nothing is left to say."""
        return self.run_until_true(self.is_settled, within=within)

    def is_settled(self) -> bool:
        """Whether all running nodes hold exactly each other ALIVE, with nothing left to say."""
        running = {name for name, node in self.nodes.items() if node.is_running}
        return all(
            self.alive_seen_by(name) == running and self.nodes[name].engine.queue_length == 0
            for name in running
        )

    def alive_seen_by(self, name: str) -> set[str]:
        """Return the members that a node holds ALIVE, itself included."""
        members = self.nodes[name].engine.members()
        return {member.name for member in members if member.state is MemberState.ALIVE}

    def state_of(self, name: str, *, seen_by: str) -> MemberState | None:
        """Return what one node holds of another; None if it does not know it."""
        member = self.nodes[seen_by].engine.get(name)
        return None if member is None else member.state

    def events_of(self, kind: type[MembershipEvent], *, since: float = 0.0) -> list[tuple[float, str, str]]:
        """Return (when, who noticed, about whom) of all events of a kind."""
        return [
            (at, name, _subject(event)) for at, name, event in self.log if type(event) is kind and at >= since
        ]

    def _place(self, name: str, address: Address) -> SimNode:
        node = SimNode(name, address, self._engine(name, address))
        self._by_address[address] = node
        return node

    def _new_address(self) -> Address:
        number, self._addresses = self._addresses, self._addresses + 1
        return Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", PORT)

    def _engine(self, name: str, address: Address) -> Swim:
        boot = EPOCH_MS + int(self.now * 1000)
        rng = random.Random(self._rng.random())
        return Swim(MemberRecord(name, boot, (address,)), self._config, rng)

    def _begin(self, node: SimNode, seeds: Sequence[str]) -> None:
        node.engine.start(self.now)
        node.engine.join([self.nodes[seed].address for seed in seeds], self.now)
        self._settle_effects(node)

    def _keep(self, at: float, name: str, event: MembershipEvent) -> None:
        self.log.append((at, name, event))

    def _settle_effects(self, node: SimNode) -> None:
        """Do what the engine wants done, and see when it wants to be called."""
        engine = node.engine
        for datagram in engine.datagrams_to_send():
            self._do(node, partial(self._send, node, datagram))
        for stream in engine.streams_to_open():
            self._do(node, partial(self._open, node, engine, stream))
        for event in engine.events():
            self._on_event(self.now, node.name, event)
        if engine.has_left:
            node.is_running = False
        timer_at = engine.next_timer_at()
        if timer_at is not None and timer_at != node.timer_at:
            node.timer_at = timer_at
            self.network.at(timer_at, lambda: self._on_timer(node, engine, timer_at))

    def _do(self, node: SimNode, effect: Callable[[], None]) -> None:
        if not node.is_stalling:
            effect()
            return
        node.is_paused = True
        if len(node.held) < MAX_INBOX:
            node.held.append(effect)

    def _on_timer(self, node: SimNode, engine: Swim, timer_at: float) -> None:
        if node.engine is engine and node.timer_at == timer_at and node.is_awake:
            self._run_timer(node)

    def _run_timer(self, node: SimNode) -> None:
        node.timer_at = None
        if node.is_awake:
            node.engine.handle_timer(self.now)
            self._settle_effects(node)

    def _send(self, node: SimNode, datagram: Datagram) -> None:
        if self.on_datagram is not None:
            self.on_datagram(node.name, datagram)
        target = self._by_address.get(datagram.to)
        if target is None:
            return
        self.network.carry_datagram(
            node.name,
            target.name,
            len(datagram.data),
            lambda: self._arrive(target, datagram, node.address, node.name),
        )

    def _arrive(self, node: SimNode, datagram: Datagram, sender: Address, sender_name: str) -> None:
        if not node.is_running or datagram.target not in {"", node.name}:
            return
        if not node.is_paused:
            self._receive(node, datagram.data, sender, sender_name)
        elif len(node.inbox) < MAX_INBOX:
            node.inbox.append((datagram.data, sender, sender_name))

    def _receive(self, node: SimNode, data: bytes, sender: Address, sender_name: str) -> None:
        if not node.is_running:
            return
        node.engine.receive_datagram(data, sender, sender_name, self.now)
        self._settle_effects(node)

    def _open(self, node: SimNode, engine: Swim, stream: Stream) -> None:
        target = next(
            (self._by_address[address] for address in stream.addresses if address in self._by_address), None
        )

        def fail() -> None:
            if isinstance(stream, PushPull) and node.engine is engine and node.is_running:
                engine.push_pull_failed(stream, self.now)
                self._settle_effects(node)

        if target is None:
            self.network.wait_for_timeout(fail)
        elif stream.peer not in {"", target.name}:
            fail()
        elif isinstance(stream, TcpPing):
            self._ask(node, target, lambda: b"", lambda _: self._tcp_answered(node, engine, stream), fail)
        else:
            body = engine.push_pull_hashes(self.now)
            self._ask(
                node,
                target,
                lambda: target.engine.answer_push_pull(body, node.name, self.now),
                lambda answer: self._second_half(node, target, engine, stream, answer, fail),
                fail,
            )

    def _second_half(
        self, node: SimNode, target: SimNode, engine: Swim, stream: PushPull, answer: bytes,
        fail: Callable[[], None],
    ) -> None:  # fmt: skip
        try:
            claims = engine.push_pull_claims(answer, stream, self.now)
        except DecodeError:
            fail()
            return

        def done(_answer: bytes) -> None:
            engine.push_pull_done(stream, self.now)
            self._settle_effects(node)

        if claims is None:
            done(b"")
            return
        self._settle_effects(node)
        self._ask(
            node, target, lambda: target.engine.answer_push_pull(claims, node.name, self.now), done, fail
        )

    def _tcp_answered(self, node: SimNode, engine: Swim, ping: TcpPing) -> None:
        engine.tcp_ping_answered(ping, self.now)
        self._settle_effects(node)

    def _ask(
        self, node: SimNode, target: SimNode, answer: Callable[[], bytes],
        then: Callable[[bytes], None], fail: Callable[[], None],
    ) -> None:  # fmt: skip
        """Carry a request and its answer over a stream."""
        engine = node.engine

        def arrive() -> None:
            if not target.is_running:
                self.network.carry_message(target.name, node.name, fail, fail)
                return
            if target.is_paused:
                self.network.wait_for_timeout(fail)
                return
            body = answer()
            self._settle_effects(target)
            self.network.carry_message(target.name, node.name, lambda: back(body), fail)

        def back(body: bytes) -> None:
            if node.is_awake and node.engine is engine:
                then(body)

        self.network.carry_message(node.name, target.name, arrive, fail)


def _subject(event: MembershipEvent) -> str:
    member = getattr(event, "member", None)
    return str(getattr(event, "name", "")) if member is None else str(member.name)
