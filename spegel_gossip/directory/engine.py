"""One member's directory, whole: owner, holder and asker, behind one engine.

Bytes and instants go in, messages and notes come out; who drives it (the shell, or
the simulation) moves them. The ring it works by changes only by `change_ring`, so
that the driver chooses when, and in which thread the ring is built.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spegel_gossip.directory.advertisement import Advertisement
from spegel_gossip.directory.answers import Answerer
from spegel_gossip.directory.codec import decode_untrusted, encode, encode_answer_within
from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.directory.messages import (
    Ack,
    Advertise,
    Answer,
    AskedFor,
    KeyAnswer,
    Miss,
    Question,
    QuestionKey,
    Recheck,
    Resync,
)
from spegel_gossip.directory.records import Note, RecordKind
from spegel_gossip.directory.shard import Shard
from spegel_gossip.directory.timers import Timers
from spegel_gossip.directory.youth import Youth
from spegel_gossip.ring.ring import Ring
from spegel_gossip.swim.names import name_hash

RING_CHANGE_INTERVAL: Final = 1.0
"""Shortest time between two changes of the ring; what happens in between is applied together."""

RESYNC_REQUEST_INTERVAL: Final = 10.0
"""Shortest time between two requests for one holder's records."""

MAX_RECHECKS: Final = 1_024
"""Keys waiting to be looked for after a miss; a report beyond that is lost, its record hidden for 30 s."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for a member."""

    to: str
    id: int
    body: bytes
    by_stream: bool
    """As `POST /directory/batch`, whose answer is received like a datagram; else as a datagram."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a question of this member's."""

    owner: str
    id: int
    answers: tuple[KeyAnswer, ...]


def view_of(owners: Sequence[str]) -> int:
    """Return the hash of a preference list, by which asker and owner compare theirs."""
    hasher = hashlib.blake2b(digest_size=8)
    for owner in owners:
        hasher.update(name_hash(owner).to_bytes(8, "big"))
    return int.from_bytes(hasher.digest(), "big")


class Directory:
    """The directory of one member. Mutators may make `next_timer_at` earlier: wake the driver."""

    def __init__(self, name: str, boot: int, zone: str, *, max_datagram: int, rng: random.Random) -> None:
        self.name = name
        self._boot = boot
        self._max_datagram = max_datagram
        self._shard = Shard(name)
        self._answerer = Answerer(self._shard, rng=rng)
        self._youth = Youth(name)
        self._advertisement = Advertisement(name, boot, max_datagram=max_datagram, rng=rng)
        self._members: dict[str, str] = {name: zone}
        self._boots: dict[str, int] = {name: boot}
        self._renewed: dict[str, None] = {}
        self._ring = Ring()
        self._ring_change_at: float | None = None
        self._ring_changed_at = -RING_CHANGE_INTERVAL
        self._outbox: list[Outgoing] = []
        self._rechecks: list[PackedKey] = []
        self._answered: list[Answered] = []
        self._names: dict[int, str] = {name_hash(name): name}
        self._requests = Timers()
        self._next_id = rng.getrandbits(32)
        self.resyncs_requested = 0
        """Resyncs that notes led to: how often the net beneath the advertisement caught something."""

    def start(self, now: float) -> None:
        """Begin alone: owner of everything, answering itself."""
        self._shard.member_alive(self.name, self._boot, self._members[self.name], now)
        self.change_ring(Ring.of(self._members), now)
        # The first others are let in at once: until then all their keys look like nobody's.
        self._ring_changed_at = now - RING_CHANGE_INTERVAL

    def boot_raised(self, boot: int, now: float) -> None:
        """Live on under a higher boot: to all others a new owner, and a new holder of everything."""
        self._boot = self._boots[self.name] = boot
        self._shard.member_alive(self.name, boot, self._members[self.name], now)
        self._advertisement.boot_raised(boot, now)

    # -- membership ---------------------------------------------------------------------------

    def member_alive(self, name: str, boot: int, zone: str, now: float) -> None:
        """Take in that a member lives, under this boot, in this zone; saying it again is harmless."""
        if name == self.name:
            return
        is_known = name in self._members
        self._shard.member_alive(name, boot, zone, now)
        if is_known and self._boots[name] != boot:
            self._renewed[name] = None
        if not is_known or name in self._renewed or self._members[name] != zone:
            self._want_ring_change(now)
        if (not is_known or self._boots[name] != boot) and not self._shard.has_closed(name, boot):
            self._youth.member_joined(name, now)
        self._members[name], self._boots[name] = zone, boot
        self._names[name_hash(name)] = name

    def member_gone(self, name: str, now: float) -> None:
        """Take in that a member is dead or left: named in no answer from now on."""
        if name == self.name or name not in self._members:
            return
        del self._members[name], self._boots[name]
        self._names.pop(name_hash(name), None)
        # Should it be back before the ring changes, it is still to be told everything.
        self._renewed[name] = None
        self._shard.member_gone(name, now)
        self._youth.member_gone(name)
        self._requests.clear(name)
        self._want_ring_change(now)

    @property
    def members(self) -> Mapping[str, str]:
        """The live members, name to zone, this one with them; a live view."""
        return self._members

    @property
    def ring(self) -> Ring:
        """The ring that this directory works by; not to be changed."""
        return self._ring

    def ring_change_at(self) -> float | None:
        """Return when the ring is to be changed to `members`, if it is."""
        return self._ring_change_at

    def change_ring(self, ring: Ring, now: float) -> None:
        """Work by another ring from now on; built from `members`, which may have changed since."""
        renewed, self._renewed = self._renewed, {}
        before, self._ring = self._ring, ring
        if before.zones:
            self._youth.ring_changed(before, ring, now)
        self._shard.ring_changed(ring, now)
        self._advertisement.ring_changed(ring, renewed, now)
        self._ring_changed_at = now
        self._ring_change_at = None
        if ring.zones != self._members:
            self._want_ring_change(now)

    # -- what this member has -----------------------------------------------------------------

    def put(
        self,
        key: PackedKey,
        now: float,
        *,
        size: int = 0,
        digest: PackedKey | None = None,
        observed_at_ms: int = 0,
    ) -> None:
        """Advertise a key that is whole here; for a tag, what it names and when upstream said so."""
        self._advertisement.put(
            key, RecordKind.COMPLETE, now, size=size, digest=digest, observed_at_ms=observed_at_ms
        )

    def withdraw(self, key: PackedKey, now: float) -> None:
        """Advertise a key no more."""
        self._advertisement.withdraw(key, now)

    def rechecked(self, key: PackedKey, *, is_here: bool, now: float) -> None:
        """Take in what a look into the store found after a miss was reported."""
        if is_here:
            self._advertisement.repeat(key, now)
        else:
            self._advertisement.withdraw(key, now)

    def has_advertised(self, key: PackedKey) -> bool:
        """Return whether this member itself is a holder of a key."""
        record = self._advertisement.records.get(key)
        return record is not None and not record.is_withdrawn

    def advertised_count(self) -> int:
        """Return how many keys are advertised."""
        return self._advertisement.held

    def refused_count(self) -> int:
        """Return how many records were not kept, or not advertised, as a table was full."""
        return self._shard.refused + self._advertisement.refused

    # -- asking -------------------------------------------------------------------------------

    def owners(self, key: PackedKey) -> tuple[str, ...]:
        """Return the preference list of a key."""
        return self._ring.preference_list(token_of(key))

    def live_owners(self, key: PackedKey) -> tuple[str, ...]:
        """Return the preference list without those who died since the ring was made."""
        return tuple(name for name in self.owners(key) if name in self._members)

    def question(self, keys: Sequence[PackedKey], purpose: AskedFor) -> tuple[int, bytes]:
        """Return a question for an owner of these keys, and the id its answer will carry."""
        asked = tuple(QuestionKey(key, view_of(self.owners(key))) for key in keys)
        self._next_id += 1
        return self._next_id, encode(Question(self._next_id, purpose, asked))

    def ask_self(self, key: PackedKey, now: float, unix_ms: int) -> KeyAnswer:
        """Return what this member knows as an owner."""
        return self._answer_key(QuestionKey(key, view_of(self.owners(key))), self.name, now, unix_ms)

    def name_of(self, hashed: int) -> str | None:
        """Return the live member whose name has this hash."""
        return self._names.get(hashed)

    def report_miss(self, key: PackedKey, holder: str, now: float) -> None:
        """Tell the owners of a key that a holder does not have it."""
        for owner in self.live_owners(key):
            self._next_id += 1
            miss = Miss(self._next_id, key, name_hash(holder))
            if owner == self.name:
                self._miss(miss, now)
            else:
                self._send(owner, miss)

    # -- the engine contract ------------------------------------------------------------------

    def receive(self, data: bytes, sender: str, now: float, unix_ms: int) -> bytes | None:
        """Take in a message of a member; return the answer for it, if it wants one.

        Raises:
            DecodeError: for every malformed input, and nothing else.
        """
        message = decode_untrusted(data)
        match message:
            case None:
                pass
            case Advertise():
                status = self._shard.advertised(sender, message, now)
                if message.closing is not None and self._boots.get(sender, message.boot) == message.boot:
                    self._youth.member_closed(sender, message.closing.epoch)
                return encode(Ack(message.id, status))
            case Ack(id_, status):
                self._advertisement.acknowledged(sender, id_, status, now)
            case Resync(_, boot):
                if boot == self._boot:
                    self._advertisement.resync(sender, now)
            case Question():
                return self._answer(message, sender, now, unix_ms)
            case Answer(id_, _, answers):
                self._answered.append(Answered(sender, id_, answers))
            case Miss():
                self._miss(message, now)
            case Recheck(_, key):
                self._recheck(key)
        return None

    def receive_note(self, sender: str, data: bytes, now: float) -> None:
        """Compare what a member says it told us with what we hold of it; ask for all where it differs."""
        note = Note.decode_untrusted(data)
        boot = self._boots.get(sender)
        if note is None or boot is None or not note.is_of(self._ring.epoch) or self._requests.has(sender):
            return
        if note.summary == self._shard.summary_of(sender, boot):
            return
        self._requests.set(sender, now + RESYNC_REQUEST_INTERVAL)
        self.resyncs_requested += 1
        self._next_id += 1
        self._send(sender, Resync(self._next_id, boot))

    def failed(self, to: str, id_: int, now: float) -> None:
        """Take in that a message did not reach its member."""
        self._advertisement.failed(to, id_, now)

    def next_timer_at(self) -> float | None:
        """Return when `handle_timer` is due; the change of the ring is not counted in."""
        timers = (self._advertisement.next_timer_at(), self._shard.next_timer_at(), self._requests.next_at())
        return min((at for at in timers if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do all that was due by `now`."""
        self._requests.due(now)
        self._shard.handle_timer(now)
        for telling in self._advertisement.handle_timer(now):
            if telling.owner == self.name:
                status = self._shard.advertised(self.name, telling.message, now)
                self._advertisement.acknowledged(self.name, telling.message.id, status, now)
            else:
                body = encode(telling.message)
                by_stream = telling.by_stream or len(body) > self._max_datagram
                self._outbox.append(Outgoing(telling.owner, telling.message.id, body, by_stream))

    def messages_to_send(self) -> list[Outgoing]:
        """Drain what is to be sent, in order."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def answers_received(self) -> list[Answered]:
        """Drain the answers to this member's questions."""
        answered, self._answered = self._answered, []
        return answered

    def keys_to_recheck(self) -> list[PackedKey]:
        """Drain the keys that somebody missed here: look, and call `rechecked`."""
        rechecks, self._rechecks = self._rechecks, []
        return rechecks

    def notes_to_set(self) -> list[tuple[str, bytes]]:
        """Drain the notes to put on pings, by member."""
        return self._advertisement.notes()

    def counts(self) -> dict[str, int]:
        """Return how many records are kept here as an owner, by kind."""
        return self._shard.counts()

    def _answer(self, question: Question, asker: str, now: float, unix_ms: int) -> bytes:
        answers = tuple(self._answer_key(asked, asker, now, unix_ms) for asked in question.keys)
        return encode_answer_within(Answer(question.id, self._ring.epoch, answers), self._max_datagram)

    def _answer_key(self, asked: QuestionKey, asker: str, now: float, unix_ms: int) -> KeyAnswer:
        owners = self.owners(asked.key)
        return self._answerer.answer(
            asked.key,
            asker=asker,
            zone=self._members.get(asker, ""),
            is_young=self._youth.is_young(token_of(asked.key), now),
            has_same_view=self.name in owners and view_of(owners) == asked.view,
            now=now,
            unix_ms=unix_ms,
        )

    def _miss(self, miss: Miss, now: float) -> None:
        holder = self._names.get(miss.holder)
        if holder is None or not self._shard.hide(miss.key, holder, now):
            return
        if holder == self.name:
            self._recheck(miss.key)
        else:
            self._next_id += 1
            self._send(holder, Recheck(self._next_id, miss.key))

    def _recheck(self, key: PackedKey) -> None:
        if len(self._rechecks) < MAX_RECHECKS and key in self._advertisement.records:
            self._rechecks.append(key)

    def _send(self, to: str, message: Miss | Recheck | Resync) -> None:
        self._outbox.append(Outgoing(to, message.id, encode(message), by_stream=False))

    def _want_ring_change(self, now: float) -> None:
        if self._ring_change_at is None:
            self._ring_change_at = max(now, self._ring_changed_at + RING_CHANGE_INTERVAL)
