"""One member's directory, whole: owner, holder and asker, behind one engine.

Bytes and instants go in, messages and notes come out; who drives it (the shell, or
the simulation) moves them. The ring it works by changes only by `change_ring`, so
that the driver chooses when, and in which thread the ring is built.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from spegel_gossip.directory.advertisement import SPREAD_INTERVAL, Advertisement
from spegel_gossip.directory.codec import decode_untrusted, encode, encode_answer_within
from spegel_gossip.directory.former import FormerRings
from spegel_gossip.directory.inquiry import view_of
from spegel_gossip.directory.keys import PackedKey, is_tag, token_of
from spegel_gossip.directory.messages import (
    Ack,
    AckStatus,
    Advertise,
    Answer,
    AskedFor,
    KeyAnswer,
    Miss,
    Purge,
    PurgeItem,
    Question,
    QuestionKey,
    Recheck,
    Resync,
)
from spegel_gossip.directory.outgoing import Answered, Outgoing, Tally
from spegel_gossip.directory.owner import DescribeSpread, NoteHolder, Owner
from spegel_gossip.directory.purges import OWNER_DELAY, Purges
from spegel_gossip.directory.records import Note, RecordKind
from spegel_gossip.directory.ring_change import RING_CHANGE_INTERVAL, RingChange
from spegel_gossip.directory.roster import Roster
from spegel_gossip.directory.timers import Timers
from spegel_gossip.ring.ring import Ring
from spegel_gossip.swim.names import name_hash

RESYNC_REQUEST_INTERVAL: Final = 10.0
"""Shortest time between two requests for one holder's records."""

MAX_RECHECKS: Final = 1_024
"""Keys waiting to be looked for after a miss; a report beyond that is lost, its record hidden for 30 s."""


class Directory:
    """The directory of one member. Mutators may make `next_timer_at` earlier: wake the driver."""

    def __init__(
        self,
        name: str,
        boot: int,
        zone: str,
        *,
        max_datagram: int,
        rng: random.Random,
        spread_interval: float = SPREAD_INTERVAL,
    ) -> None:
        self.name = name
        self._max_datagram = max_datagram
        self._roster = Roster(name, boot, zone)
        self._advertisement = Advertisement(
            name, boot, max_datagram=max_datagram, rng=rng, spread_interval=spread_interval
        )
        self.purges = Purges(max_datagram=max_datagram, rng=rng)
        """What was purged: to be read, its news to be drained; `purge` changes it."""
        self._owner = Owner(self._roster, self.purges, rng=rng)
        self._shard = self._owner.shard
        self._ring = Ring()
        self._former = FormerRings()
        self._ring_change_at: float | None = None
        self._ring_changed_at = -RING_CHANGE_INTERVAL
        self._outbox: list[Outgoing] = []
        self._rechecks: list[PackedKey] = []
        self._answered: list[Answered] = []
        self._requests = Timers()
        self._next_id = rng.getrandbits(32)
        self._resyncs_requested = 0

    def start(self, now: float) -> None:
        """Begin alone: owner of everything, answering itself."""
        self._shard.member_alive(self.name, self._roster.own_boot, self.members[self.name], now)
        self.change_ring(Ring.of(self.members), now)
        # The first others are let in at once: until then all their keys look like nobody's.
        self._ring_changed_at = now - RING_CHANGE_INTERVAL

    def boot_raised(self, boot: int, now: float) -> None:
        """Live on under a higher boot: to all others a new owner, and a new holder of everything."""
        self._roster.raise_boot(boot)
        self._shard.member_alive(self.name, boot, self.members[self.name], now)
        self._advertisement.boot_raised(boot, now)

    # -- membership ---------------------------------------------------------------------------

    def member_alive(self, name: str, boot: int, zone: str, now: float) -> None:
        """Take in that a member lives, under this boot, in this zone; saying it again is harmless."""
        if name == self.name:
            return
        is_new_life, changes_ring = self._roster.put(name, boot, zone)
        self._owner.member_alive(name, boot, zone, now, is_new_life=is_new_life)
        if changes_ring:
            self._want_ring_change(now)
        if is_new_life:
            owned = [key for key in self.purges.known(now) if self.name in self.owners(key)]
            self.purges.owe((name,), owned, now, delay=0.0)

    def member_gone(self, name: str, now: float) -> None:
        """Take in that a member is dead or left: named in no answer from now on."""
        if not self._roster.remove(name):
            return
        self._owner.member_gone(name, now)
        self._requests.clear(name)
        self.purges.member_gone(name)
        self._want_ring_change(now)

    @property
    def members(self) -> Mapping[str, str]:
        """The live members, name to zone, this one with them; a live view."""
        return self._roster.zones

    @property
    def ring(self) -> Ring:
        """The ring that this directory works by; not to be changed."""
        return self._ring

    def ring_change_at(self) -> float | None:
        """Return when the ring is to be changed to `members`, if it is."""
        return self._ring_change_at

    def change_to(self, ring: Ring) -> RingChange:
        """Return the change to another ring, to be looked through and then given to `apply`."""
        keys = [*self._advertisement.records, *self._shard.keys]
        return RingChange(self._ring, ring, self._roster.take_renewed(), keys)

    def apply(self, change: RingChange, now: float) -> None:
        """Work by another ring from now on; built from `members`, which may have changed since."""
        self._former.replaced(change.before, now)
        self._ring = change.after
        self._owner.ring_changed(change, now)
        self._advertisement.ring_changed(self._ring, change.renewed, now, change)
        self._ring_changed_at = now
        self._ring_change_at = None
        if self._ring.zones != self.members or self._roster.has_renewed():
            self._want_ring_change(now)

    def change_ring(self, ring: Ring, now: float) -> None:
        """Work by another ring from now on, all at once."""
        self.apply(self.change_to(ring), now)

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
        if is_tag(key) and self.purges.covers(key, observed_at_ms, now):
            # Said before the purge, so it is not to be said again.
            self._advertisement.withdraw(key, now)
            return
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

    def purge(self, key: PackedKey, at_ms: int, now: float) -> None:
        """Have all withdraw and refuse what was observed of a tag until then: now, by the cluster's clock."""
        if self._take_purge(PurgeItem(key, at_ms), now, self.purges.by_own_clock(at_ms)):
            self._tell_all(key, now, delay=0.0)

    def recall_purge(self, key: PackedKey, at_ms: int, now: float, unix_ms: int) -> None:
        """Know a purge that was known before a restart."""
        self._take_purge(PurgeItem(key, at_ms), now, unix_ms)

    def has_advertised(self, key: PackedKey, *, to: str = "") -> bool:
        """Return whether this member is a holder of a key; with `to`, whether that owner is told so now."""
        return self._advertisement.tells(to, key) if to else self._advertisement.held_record(key) is not None

    def tally(self) -> Tally:
        """Return what there is to count."""
        told = self._advertisement
        refused = self._shard.refused + told.refused
        return Tally(self._shard.counts(), told.held, told.moved, refused, self._resyncs_requested)

    # -- asking -------------------------------------------------------------------------------

    def owners(self, key: PackedKey) -> tuple[str, ...]:
        """Return the preference list of a key."""
        return self._ring.preference_list(token_of(key))

    def live_owners(self, key: PackedKey) -> tuple[str, ...]:
        """Return the preference list without those who died since the ring was made."""
        return tuple(name for name in self.owners(key) if name in self.members)

    def former_owner(self, key: PackedKey, now: float) -> str | None:
        """Return the live member that was the first owner of a key by the ring of a minute ago, if any."""
        return next((name for name in self._former.owners(key, now) if name in self.members), None)

    def question(self, keys: Sequence[PackedKey], purpose: AskedFor) -> tuple[int, bytes]:
        """Return a question for an owner of these keys, and the id its answer will carry."""
        asked = tuple(QuestionKey(key, view_of(self.owners(key))) for key in keys)
        self._next_id += 1
        return self._next_id, encode(Question(self._next_id, purpose, asked))

    def ask_self(
        self, key: PackedKey, now: float, unix_ms: int, purpose: AskedFor = AskedFor.READ
    ) -> KeyAnswer:
        """Return what this member knows as an owner."""
        asked = QuestionKey(key, view_of(self.owners(key)))
        return self._answer_key(asked, purpose, self.name, now, unix_ms)

    def look_after_spreads_by(self, describe: DescribeSpread, note_holder: NoteHolder) -> None:
        """Have explanations say, too, how blobs spread, and tell who knows that of each new holder."""
        self._owner.describe_spread, self._owner.note_holder = describe, note_holder

    def name_of(self, hashed: int) -> str | None:
        """Return the live member whose name has this hash."""
        return self._roster.name_of(hashed)

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
                return encode(Ack(message.id, self._owner.advertised(sender, message, now)))
            case Ack(id_, status):
                if not self.purges.acknowledged(sender, id_, status, now):
                    self._advertisement.acknowledged(sender, id_, status, now)
            case Resync(_, boot):
                if boot == self._roster.own_boot:
                    self._advertisement.resync(sender, now)
            case Question():
                return self._answer(message, sender, now, unix_ms)
            case Answer(id_, _, answers):
                self._answered.append(Answered(sender, id_, answers))
            case Miss():
                self._miss(message, now)
            case Recheck(_, key):
                self._recheck(key)
            case Purge(id_, items):
                are_known = [self._hear_purge(item, now, unix_ms) for item in items]
                return encode(Ack(id_, AckStatus.OK if all(are_known) else AckStatus.REFUSED))
        return None

    def receive_note(self, sender: str, data: bytes, now: float) -> bool:
        """Compare what a member says it told us with what we hold of it; ask for all where it differs.

        Returns:
            Whether it differs, and there is something to send.
        """
        note = Note.decode_untrusted(data)
        boot = self._roster.boot_of(sender)
        if note is None or boot is None or not note.is_of(self._ring.epoch) or self._requests.has(sender):
            return False
        if note.summary == self._shard.summary_of(sender, boot):
            return False
        self._requests.set(sender, now + RESYNC_REQUEST_INTERVAL)
        self._resyncs_requested += 1
        self._next_id += 1
        self._send(sender, Resync(self._next_id, boot))
        return True

    def failed(self, to: str, id_: int, now: float) -> None:
        """Take in that a message did not reach its member."""
        if not self.purges.failed(to, id_, now):
            self._advertisement.failed(to, id_, now)

    def next_timer_at(self) -> float | None:
        """Return when `handle_timer` is due; the change of the ring is not counted in."""
        timers = (
            self._advertisement.next_timer_at(),
            self._shard.next_timer_at(),
            self._requests.next_at(),
            self.purges.next_timer_at(),
        )
        return min((at for at in timers if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do all that was due by `now`."""
        self._requests.due(now)
        self._shard.handle_timer(now)
        for told in self.purges.handle_timer(now, self._next_id + 1):
            self._next_id = told.message.id
            self._outbox.append(Outgoing(told.to, told.message.id, encode(told.message), told.by_stream))
        for telling in self._advertisement.handle_timer(now):
            if telling.owner == self.name:
                status = self._owner.advertised(self.name, telling.message, now)
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

    def _answer(self, question: Question, asker: str, now: float, unix_ms: int) -> bytes:
        answers = tuple(
            self._answer_key(asked, question.purpose, asker, now, unix_ms) for asked in question.keys
        )
        return encode_answer_within(Answer(question.id, self._ring.epoch, answers), self._max_datagram)

    def _answer_key(
        self, asked: QuestionKey, purpose: int, asker: str, now: float, unix_ms: int
    ) -> KeyAnswer:
        own = None if asker == self.name else self._advertisement.held_record(asked.key)
        return self._owner.answer(asked, purpose, asker, self.owners(asked.key), own, now, unix_ms)

    def _hear_purge(self, item: PurgeItem, now: float, unix_ms: int) -> bool:
        """Take a purge in and pass it on; return whether it is in force here, from now or from before."""
        is_news = self._take_purge(item, now, unix_ms)
        if is_news and self.name in self.owners(item.key):
            self._tell_all(item.key, now, delay=OWNER_DELAY)
        return is_news or self.purges.purged_at_ms(item.key, now) >= item.at_ms

    def _tell_all(self, key: PackedKey, now: float, *, delay: float) -> None:
        self.purges.owe([name for name in self.members if name != self.name], (key,), now, delay=delay)

    def _take_purge(self, item: PurgeItem, now: float, unix_ms: int) -> bool:
        if not is_tag(item.key) or not self.purges.add(item.key, item.at_ms, now, unix_ms):
            return False
        record = self._advertisement.records.get(item.key)
        if record is not None and record.observed_at_ms <= self.purges.by_own_clock(item.at_ms):
            self._advertisement.withdraw(item.key, now)
        return True

    def _miss(self, miss: Miss, now: float) -> None:
        holder = self._roster.name_of(miss.holder)
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
