"""Many directories on one virtual network: seeded, lossy, and as fast as the processor.

Membership is fed by hand, each member hearing of a change after a delay of its own,
as gossip would have it; notes ride on imaginary pings.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.directory.codec import decode_untrusted, encode
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.inquiry import INQUIRY_TIMEOUT, Inquiry, Verdict, reading_order, view_of
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.messages import (
    Advertise,
    Answer,
    AskedFor,
    KeyAnswer,
    Message,
    Question,
    QuestionKey,
)
from spegel_gossip.directory.outgoing import Outgoing
from spegel_gossip.ring.ring import Ring
from spegel_gossip.swim.names import name_hash

MAX_DATAGRAM: Final = 1_100
GOSSIP_DELAY: Final = 3.0
"""Seconds within which everybody has heard of a change of the membership."""

JOIN_DELAY: Final = 0.5
"""Seconds within which a new member has asked somebody for all members."""

MAX_RINGS: Final = 256
"""Rings kept for those who come to the same one later."""

MAX_LATENESS: Final = 30.0
"""Seconds after which the second of two packets arrives at the latest; withdrawals are kept for longer."""

PING_INTERVAL: Final = 1.0
UNIX_MS: Final = 1_700_000_000_000


@dataclass(slots=True)
class SimMember:
    """A member: its engine, and what its content store would hold."""

    engine: Directory
    boot: int
    zone: str
    held: dict[PackedKey, None] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    wake_at: float | None = None


class SimDirectories:
    """The cluster. Datagrams are lost at random; `cut` says between whom everything is."""

    def __init__(self, *, seed: int, loss: float = 0.0, max_delay: float = 0.05) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.members: dict[str, SimMember] = {}
        self.loss = loss
        self.cut: Callable[[str, str], bool] = lambda _from, _to: False
        self.duplication = 0.0
        """The share of messages that arrive twice, the second time up to `MAX_LATENESS` later."""

        self.slow: dict[str, float] = {}
        """Members whose every packet takes some seconds more, either way."""

        self.delivered: Callable[[str, str, Advertise], None] = lambda _from, _to, _message: None
        """Told of every advertisement when it has been taken in."""

        self.packets = 0
        self.records_told = 0
        self._max_delay = max_delay
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._boots = 0
        self._started: list[str] = []
        self._dying: dict[str, SimMember] = {}
        self._rings: dict[object, Ring] = {}
        self.detection = 0.0
        """Seconds until the first hears that a member died: what membership takes, which is not simulated."""

    def start(self, name: str, *, zone: str = "", boot: int | None = None) -> SimMember:
        """Start a member, or start it anew under a new boot; it and the others hear of each other.

        Under an earlier `boot` that is given, it is to the others what it was before: `raise_boot` follows.
        """
        member = self.make(name, zone, boot=boot)
        self.after(self.rng.uniform(0.0, JOIN_DELAY), lambda: self._join(member))
        for other in list(self.members.values()):
            if other is not member:
                self._hear(other, member)
        self.begin(member)
        return member

    def make(self, name: str, zone: str = "", *, boot: int | None = None) -> SimMember:
        """Make a member that nobody has heard of, and that does nothing before it has begun."""
        self._boots += 1
        rng = random.Random(self.rng.getrandbits(64))
        boot = self._boots if boot is None else boot
        engine = Directory(name, boot, zone, max_datagram=MAX_DATAGRAM, rng=rng)
        if name not in self._started:
            self._started.append(name)
        member = self.members[name] = SimMember(engine, boot, zone)
        engine.start(self.now)
        return member

    def begin(self, member: SimMember) -> None:
        """Have a member ping, and do what it has to."""
        name = member.engine.name
        self.after(self.rng.uniform(0.0, PING_INTERVAL), lambda: self._ping(name, member))
        self._drive(name)

    def raise_boot(self, name: str) -> None:
        """Have a member live on under a new boot, as when it hears of itself under one not below its own."""
        member = self.members[name]
        self._boots += 1
        member.boot = self._boots
        member.engine.boot_raised(member.boot, self.now)
        for other in list(self.members.values()):
            if other is not member:
                self._hear(other, member)
        self._drive(name)

    def stop(self, name: str) -> None:
        """End a member without a word; the others find out in their time."""
        gone = self._dying[name] = self.members.pop(name)
        self.after(self.detection + GOSSIP_DELAY, lambda: self._bury_at_last(name, gone))
        for other in list(self.members.values()):
            delay = self.detection + self.rng.uniform(0.0, GOSSIP_DELAY)
            self.after(delay, self._forgetting(other, name, gone.boot))

    def leave(self, name: str) -> None:
        """End a member that says goodbye: the others know within half a second."""
        gone = self._dying[name] = self.members.pop(name)
        self.after(GOSSIP_DELAY, lambda: self._bury_at_last(name, gone))
        for other in list(self.members.values()):
            self.after(self.rng.uniform(0.0, JOIN_DELAY), self._forgetting(other, name, gone.boot))

    def put(self, name: str, key: PackedKey, size: int = 1) -> None:
        """Have a member hold a key."""
        member = self.members[name]
        member.held[key] = None
        member.engine.put(key, self.now, size=size)
        self._drive(name)

    def put_tag(self, name: str, key: PackedKey, digest: PackedKey, observed_at_ms: int) -> None:
        """Have a member hold a tag."""
        member = self.members[name]
        member.engine.put(key, self.now, digest=digest, observed_at_ms=observed_at_ms)
        self._drive(name)

    def purge(self, name: str, key: PackedKey) -> None:
        """Have a member purge a tag."""
        self.members[name].engine.purge(key, UNIX_MS, self.now)
        self._drive(name)

    def withdraw(self, name: str, key: PackedKey) -> None:
        """Have a member hold a key no more."""
        member = self.members[name]
        member.held.pop(key, None)
        member.engine.withdraw(key, self.now)
        self._drive(name)

    def lose(self, name: str, key: PackedKey) -> None:
        """Have a member's store lose a key without a word to its engine."""
        self.members[name].held.pop(key, None)

    def report_miss(self, name: str, key: PackedKey, holder: str) -> None:
        """Have a member report that a holder does not have a key."""
        self.members[name].engine.report_miss(key, holder, self.now)
        self._drive(name)

    def after(self, delay: float, do: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, do))

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = end

    def holders(self, owner: str, key: PackedKey) -> set[str]:
        """Return whom an owner names to a stranger as holders of a key."""
        return {self._name_of(hashed) for hashed in self.ask(owner, key).holders}

    def holders_named(self, owner: str, key: PackedKey) -> set[str]:
        """Return whom an owner names as holders, the dead too, by what it takes their names to be."""
        engine = self.members[owner].engine
        names = {engine.name_of(hashed) for hashed in self.ask(owner, key).holders}
        return {name or "a member it does not know" for name in names}

    def ask(self, owner: str, key: PackedKey) -> KeyAnswer:
        """Return what an owner answers to a stranger who sees the ring as it does."""
        engine = self.members[owner].engine
        asked = QuestionKey(key, view_of(engine.owners(key)))
        body = encode(Question(0, AskedFor.READ, (asked,)))
        reply = engine.receive(body, "a stranger", self.now, UNIX_MS)
        answer = decode_untrusted(reply or b"")
        assert isinstance(answer, Answer)  # noqa: S101 # a question is answered, or the engine is wrong
        return answer.answers[0]

    def look_up(self, asker: str, key: PackedKey) -> Verdict:
        """Return what an inquiry comes to whose packets take no time; the dead do not answer."""
        engine = self.members[asker].engine
        order = reading_order(engine.live_owners(key), asker)
        inquiry = Inquiry((key,), order, self.now)
        while owners := inquiry.owners_to_ask(self.now):
            for owner in owners:
                if owner not in self.members:
                    inquiry.failed(owner)
                    continue
                _, body = engine.question((key,), AskedFor.READ)
                reply = self.members[owner].engine.receive(body, asker, self.now, UNIX_MS)
                answer = decode_untrusted(reply or b"")
                assert isinstance(answer, Answer)  # noqa: S101 # as above
                inquiry.answered(owner, {key: answer.answers[0]})
        inquiry.handle_timer(self.now + INQUIRY_TIMEOUT)
        return inquiry.outcome()[key][1]

    def names_found(self, asker: str, key: PackedKey) -> set[str]:
        """Return whom an asker's first owner names, the dead by what it takes their names to be."""
        engine = self.members[asker].engine
        for owner in reading_order(engine.live_owners(key), asker):
            if owner in self.members:
                return self.holders_named(owner, key)
        return set()

    def bury(self, name: str, other: str) -> None:
        """Have one member hold another for dead, which it need not be."""
        self.members[name].engine.member_gone(other, self.now)
        self._drive(name)

    def introduce_all(self) -> None:
        """Have everybody hear, each in its time, that everybody lives."""
        for member in self.members.values():
            for other in self.members.values():
                if other is not member:
                    self._hear(member, other)

    def live_holders(self, key: PackedKey) -> set[str]:
        """Return who really has a key."""
        return {name for name, member in self.members.items() if key in member.held}

    def _name_of(self, hashed: int) -> str:
        return next((name for name in self.members if name_hash(name) == hashed), "a member that is no more")

    def _bury_at_last(self, name: str, gone: SimMember) -> None:
        if self._dying.get(name) is gone:
            del self._dying[name]

    def _join(self, member: SimMember) -> None:
        """Have a member learn all at once what a push-pull tells: those who just died still live there."""
        if not self._is_here(member):
            return
        for about in [*self._dying.values(), *self.members.values()]:
            name = about.engine.name
            if about is not member and name != member.engine.name:
                member.engine.member_alive(name, about.boot, about.zone, self.now)
                if name not in self.members:
                    forget = self._forgetting(member, name, about.boot)
                    self.after(self.detection + self.rng.uniform(0.0, GOSSIP_DELAY), forget)
        self._drive(member.engine.name)

    def _hear(self, member: SimMember, about: SimMember) -> None:
        def hear() -> None:
            if self.members.get(about.engine.name) is about and self._is_here(member):
                member.engine.member_alive(about.engine.name, about.boot, about.zone, self.now)
                self._drive(member.engine.name)

        self.after(self.rng.uniform(0.0, GOSSIP_DELAY), hear)

    def _forgetting(self, member: SimMember, name: str, boot: int) -> Callable[[], None]:
        def forget() -> None:
            back = self.members.get(name)
            if self._is_here(member) and (back is None or back.boot == boot):
                member.engine.member_gone(name, self.now)
                self._drive(member.engine.name)

        return forget

    def _is_here(self, member: SimMember) -> bool:
        return self.members.get(member.engine.name) is member

    def _ping(self, name: str, member: SimMember) -> None:
        """Take a note to one other member, as a probe would, and bring one back."""
        if not self._is_here(member):
            return
        other = self.rng.choice(self._started)
        if other != name and other in self.members and other in member.engine.members:
            self._carry(name, other)
            self._carry(other, name)
        self.after(PING_INTERVAL, lambda: self._ping(name, member))

    def _carry(self, source: str, target: str) -> None:
        note = self.members[source].notes.get(target)
        if note is not None and self.rng.random() >= self.loss and not self.cut(source, target):
            self.after(self._delay(), lambda: self._note(source, target, note))

    def _note(self, source: str, target: str, note: bytes) -> None:
        if target in self.members:
            self.members[target].engine.receive_note(source, note, self.now)
            self._drive(target)

    def _delay(self, *ends: str) -> float:
        slowness = sum(self.slow.get(end, 0.0) for end in ends)
        return self.rng.uniform(0.0005, self._max_delay) + slowness

    def _drive(self, name: str) -> None:
        """Do what a driver does after each thing that happens to an engine."""
        member = self.members[name]
        engine = member.engine
        change_at = engine.ring_change_at()
        if change_at is not None and change_at <= self.now:
            engine.change_ring(self._ring_after(engine.ring, engine.members), self.now)
        engine.handle_timer(self.now)
        for message in engine.messages_to_send():
            self._send(member, message)
        engine.answers_received()
        for key in engine.keys_to_recheck():
            engine.rechecked(key, is_here=key in member.held, now=self.now)
        member.notes.update(engine.notes_to_set())
        self._wake_at(member)

    def _ring_after(self, before: Ring, members: Mapping[str, str]) -> Ring:
        """Return the ring of these members; those who go the same way share it, as rings do not change."""
        gone = tuple(name for name in before.zones if name not in members)
        changed = tuple(pair for pair in members.items() if before.zones.get(pair[0]) != pair[1])
        step = (before.epoch, gone, changed)
        if step not in self._rings:
            if len(self._rings) >= MAX_RINGS:
                del self._rings[next(iter(self._rings))]
            self._rings[step] = before.changed_to(members)
        return self._rings[step]

    def _wake_at(self, member: SimMember) -> None:
        wanted = (member.engine.next_timer_at(), member.engine.ring_change_at())
        at = min((one for one in wanted if one is not None), default=None)
        if at is None or (member.wake_at is not None and self.now < member.wake_at <= at):
            return
        member.wake_at = at

        def wake() -> None:
            if self._is_here(member) and member.wake_at == at:
                member.wake_at = None
                self._drive(member.engine.name)

        self.after(max(0.0, at - self.now), wake)

    def _send(self, sender: SimMember, message: Outgoing) -> None:
        source, target = sender.engine.name, message.to
        self.packets += 1
        told = decode_untrusted(message.body)
        if isinstance(told, Advertise):
            self.records_told += len(told.records)
        is_lost = self.cut(source, target) or (not message.by_stream and self.rng.random() < self.loss)
        if not is_lost:
            self.after(self._delay(source, target), lambda: self._arrive(sender, target, message, told))
            if self.rng.random() < self.duplication:
                again = self.rng.uniform(0.0, MAX_LATENESS)
                self.after(again, lambda: self._arrive(sender, target, message, told))
        elif message.by_stream:
            self.after(self._delay(), lambda: self._fail(sender, message))

    def _arrive(self, sender: SimMember, target: str, message: Outgoing, told: Message | None) -> None:
        if target not in self.members:
            if message.by_stream:
                self._fail(sender, message)
            return
        reply = self.members[target].engine.receive(message.body, sender.engine.name, self.now, UNIX_MS)
        if isinstance(told, Advertise):
            self.delivered(sender.engine.name, target, told)
        self._drive(target)
        if reply is not None and (message.by_stream or self.rng.random() >= self.loss):
            delay = self._delay(sender.engine.name, target)
            self.after(delay, lambda: self._answer(sender, target, reply))

    def _answer(self, sender: SimMember, answerer: str, reply: bytes) -> None:
        if self._is_here(sender):
            self.packets += 1
            sender.engine.receive(reply, answerer, self.now, UNIX_MS)
            self._drive(sender.engine.name)

    def _fail(self, sender: SimMember, message: Outgoing) -> None:
        if self._is_here(sender):
            sender.engine.failed(message.to, message.id, self.now)
            self._drive(sender.engine.name)
