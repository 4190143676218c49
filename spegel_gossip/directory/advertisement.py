"""What a holder must still tell whom.

For every owner there is a pair: the keys it has not acknowledged, and the summary
of all it should hold of us. Only changes are told; after a change of the ring only
those who became owners by it. What was told is told again only when the two
summaries differ, so a cluster in which nothing changes is silent.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from spegel_gossip.backoff import backoff
from spegel_gossip.directory.codec import ADVERTISE_OVERHEAD, record_bytes
from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.directory.messages import AckStatus, Advertise, Closing
from spegel_gossip.directory.pair import MAX_RESYNC_INTERVAL, RESYNC_INTERVAL, Pair
from spegel_gossip.directory.records import Record, RecordKind, encode_note
from spegel_gossip.directory.ring_change import RingChange
from spegel_gossip.directory.timers import Timers
from spegel_gossip.ring.ring import Ring

COALESCE_INTERVAL: Final = 0.01
"""Seconds a change waits for others: a pull commits manifest, config and layers in a row."""

SPREAD_INTERVAL: Final = 2.0
"""Seconds over which members tell a new owner, so that a thousand do not at once."""

CLOSE_AGAIN_INTERVAL: Final = 10.0
"""Seconds after a member joined in which it and others may still see rings that differ."""

ACK_TIMEOUT: Final = 0.5
"""Seconds to wait for an acknowledgement of a datagram."""

BATCH_TIMEOUT: Final = 20.0
"""Seconds to wait for the answer to a batch; the shell gives up earlier and says so."""

RETRY_INTERVAL: Final = 0.5
"""First pause after a failure; doubles with each, up to the largest."""

MAX_RETRY_INTERVAL: Final = 30.0

STREAM_AFTER_FAILURES: Final = 2
"""Datagrams lost in a row from which on a pair goes by TCP: UDP may be blocked."""

MAX_OWN_RECORDS: Final = 100_000
"""Keys advertised at once: what an owner takes of one holder."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A message for an owner."""

    owner: str
    message: Advertise
    by_stream: bool
    """Too long for a datagram, or datagrams do not arrive."""


class Advertisement:
    """The records of one holder, and what each owner has of them."""

    def __init__(
        self,
        name: str,
        boot: int,
        *,
        max_datagram: int,
        rng: random.Random,
        spread_interval: float = SPREAD_INTERVAL,
    ) -> None:
        self._spread_interval = spread_interval
        self._name = name
        self._boot = boot
        self._max_records_bytes = max_datagram - ADVERTISE_OVERHEAD
        self._rng = rng
        self._own: dict[PackedKey, Record] = {}
        self._pairs: dict[str, Pair] = {}
        self._timers = Timers()
        self._ring = Ring()
        self._sequence = 0
        self._next_id = rng.getrandbits(32)
        self._stale_notes: dict[str, None] = {}
        self.refused = 0
        """Keys not advertised, as too many are already."""
        self.moved = 0
        """Records that others are told as they became owners, not as something changed here."""
        self.held = 0
        """Keys advertised, those under withdrawal left out."""

    @property
    def records(self) -> Mapping[PackedKey, Record]:
        """What is advertised, withdrawals under way included; a live view."""
        return self._own

    def held_record(self, key: PackedKey) -> Record | None:
        """Return what is advertised of a key that is not under withdrawal."""
        record = self._own.get(key)
        return None if record is None or record.is_withdrawn else record

    def tells(self, owner: str, key: PackedKey) -> bool:
        """Return whether an owner knows that this holder has a key, or is told so now (`Pair.tells`)."""
        is_told = self.held_record(key) is not None and owner in self._ring.preference_list(token_of(key))
        return is_told and self._pairs[owner].tells(key)

    def put(
        self, key: PackedKey, kind: RecordKind, now: float, *, size: int = 0, digest: PackedKey | None = None,
        observed_at_ms: int = 0,
    ) -> None:  # fmt: skip
        """Advertise a key; saying what is already said costs nothing."""
        old = self._own.get(key)
        sequence = self._sequence + 1
        if old is not None and old == Record(key, kind, old.sequence, size, digest, observed_at_ms):
            return
        if old is None and len(self._own) >= MAX_OWN_RECORDS:
            self.refused += 1
            return
        self._say(Record(key, kind, sequence, size, digest, observed_at_ms), now)

    def withdraw(self, key: PackedKey, now: float) -> None:
        """Advertise a key no more; an unknown one is no error."""
        old = self._own.get(key)
        if old is not None and not old.is_withdrawn:
            self._say(Record(key, RecordKind.WITHDRAWN, self._sequence + 1), now)

    def repeat(self, key: PackedKey, now: float) -> None:
        """Say of a key under a new number what was said, which lifts every doubt about it."""
        old = self._own.get(key)
        if old is not None and not old.is_withdrawn:
            self._say(
                Record(key, old.kind, self._sequence + 1, old.size, old.digest, old.observed_at_ms), now
            )

    def boot_raised(self, boot: int, now: float) -> None:
        """Number all records by another boot from now on, and so tell everybody everything."""
        self._boot = boot
        ring, self._ring = self._ring, Ring()
        for name in self._pairs:
            self._timers.clear(name)
        self._pairs = {}
        self.ring_changed(ring, (), now)

    def ring_changed(
        self, ring: Ring, renewed: Collection[str], now: float, change: RingChange | None = None
    ) -> None:
        """Tell those who became owners, and forget those who are owners no more.

        Args:
            ring: the ring from now on
            renewed: members who live a new boot and so know nothing
            now: from when the telling is spread
            change: what was found out beforehand about the change from the ring until now
        """
        change = change or RingChange(self._ring, ring, renewed)
        self._ring, zones = ring, ring.zones
        for name in [name for name in self._pairs if name not in zones or name in renewed]:
            del self._pairs[name]
            self._timers.clear(name)
        until = now + CLOSE_AGAIN_INTERVAL
        new = {name: Pair(closes_again_until=until) for name in zones if name not in self._pairs}
        # Always ourselves too: notes ride on pings, and nobody pings itself.
        touched = dict.fromkeys([*new, self._name])
        touched.update((name, None) for name, pair in self._pairs.items() if pair.closes_again_until > now)
        self._pairs.update(new)
        for key, handover in change.among(self._own):
            touched.update(dict.fromkeys(handover.gained))
            # Whose pair is new was never owed anything.
            lost = [name for name in handover.lost if name not in new]
            self._hand_over(key, gained=handover.gained, lost=lost)
        for name in touched:
            self._spread(name, now)
        self._drop_told_withdrawals(self._own)
        self._stale_notes = dict.fromkeys(self._pairs)

    def acknowledged(self, owner: str, id_: int, status: int, now: float) -> None:
        """Take in that an owner has what it was told."""
        pair = self._pairs.get(owner)
        if pair is None or pair.in_flight is None or pair.in_flight.id != id_:
            return
        flight, pair.in_flight, pair.failures = pair.in_flight, None, 0
        if status == AckStatus.DIFFERS:
            self.resync(owner, now)
            # Where that came too soon after the last one, the closing is repeated until it may be.
            pair.must_close = True
        elif flight.has_closing and pair.is_clean:
            pair.resync_interval = RESYNC_INTERVAL
        self._drop_told_withdrawals(flight.keys)
        self._reschedule(owner, pair, now)

    def failed(self, owner: str, id_: int, now: float) -> None:
        """Take in that a message did not reach an owner; it is told later."""
        pair = self._pairs.get(owner)
        if pair is None or pair.in_flight is None or pair.in_flight.id != id_:
            return
        pair.take_back(self._own)
        pause = backoff(pair.failures - 1, first=RETRY_INTERVAL, longest=MAX_RETRY_INTERVAL)
        self._due(owner, now + pause * self._rng.uniform(0.8, 1.2))

    def resync(self, owner: str, now: float) -> None:
        """Tell an owner everything again, soon, but not again and again."""
        pair = self._pairs.get(owner)
        if pair is None or now < pair.resync_at:
            return
        pair.resync_at = now + pair.resync_interval
        pair.resync_interval = min(pair.resync_interval * 2.0, MAX_RESYNC_INTERVAL)
        pair.round += 1
        pair.round_sequence = self._sequence
        pair.must_close = True
        for key in self._own:
            if owner in self._ring.preference_list(token_of(key)):
                pair.pending[key] = None
        self._mark(owner, now)

    def next_timer_at(self) -> float | None:
        """Return when something is to be told or is late."""
        return self._timers.next_at()

    def handle_timer(self, now: float) -> list[Telling]:
        """Return what is due to be told by now."""
        tellings = []
        for owner in self._timers.due(now):
            pair = self._pairs[owner]
            if pair.in_flight is not None:
                self.failed(owner, pair.in_flight.id, now)
                continue
            if not pair.is_clean:
                tellings.append(self._tell(owner, pair, now))
        return tellings

    def notes(self) -> list[tuple[str, bytes]]:
        """Return the notes that changed since the last call; empty ones say nothing.

        A note is held back while something is on its way to the owner, who would
        find a difference that is about to vanish.
        """
        stale, self._stale_notes = self._stale_notes, {}
        epoch = self._ring.epoch
        notes = []
        for owner in stale:
            pair = self._pairs.get(owner)
            if pair is not None and owner != self._name:
                notes.append((owner, encode_note(epoch, pair.summary) if pair.is_clean else b""))
        return notes

    def _say(self, record: Record, now: float) -> None:
        self._sequence = record.sequence
        old = self._own.get(record.key)
        self._own[record.key] = record
        was_held = old is not None and not old.is_withdrawn
        self.held += (not record.is_withdrawn) - was_held
        for owner in self._ring.preference_list(token_of(record.key)):
            pair = self._pairs[owner]
            pair.summary = pair.summary.with_change(old=old, new=record, boot=self._boot)
            pair.pending[record.key] = None
            self._mark(owner, now)
        if not self._pairs:
            self._drop_told_withdrawals([record.key])

    def _hand_over(self, key: PackedKey, *, gained: Iterable[str], lost: Iterable[str]) -> None:
        record = self._own[key]
        for name in lost:
            if name in self._pairs:
                self._pairs[name].forget(record, self._boot)
        for name in gained:
            if not record.is_withdrawn:
                self._pairs[name].learn(record, self._boot)
                self.moved += name != self._name

    def _tell(self, owner: str, pair: Pair, now: float) -> Telling:
        self._next_id += 1
        keys = pair.take_off(self._next_id, self._own)
        records = tuple(self._own[key] for key in keys)
        closing = None
        if pair.in_flight is not None and pair.in_flight.has_closing:
            closing = Closing(self._ring.epoch, pair.summary, pair.round_sequence)
        is_long = sum(map(record_bytes, records)) > self._max_records_bytes
        by_stream = is_long or pair.failures >= STREAM_AFTER_FAILURES
        if pair.in_flight is not None:
            pair.in_flight.by_stream = by_stream
        self._due(owner, now + (BATCH_TIMEOUT if by_stream else ACK_TIMEOUT))
        return Telling(owner, Advertise(self._next_id, self._boot, pair.round, records, closing), by_stream)

    def _drop_told_withdrawals(self, keys: Iterable[PackedKey]) -> None:
        for key in list(keys):
            record = self._own.get(key)
            if record is None or not record.is_withdrawn:
                continue
            owners = [self._pairs[name] for name in self._ring.preference_list(token_of(key))]
            if not any(pair.owes(key) for pair in owners):
                del self._own[key]

    def _spread(self, owner: str, now: float) -> None:
        """Have a new owner told, and told that this was all, at some moment of the spread."""
        pair = self._pairs[owner]
        pair.must_close = True
        if pair.in_flight is None:
            pause = 0.0 if owner == self._name else self._rng.uniform(0.0, self._spread_interval)
            self._timers.set_earlier(owner, now + pause)

    def _mark(self, owner: str, now: float) -> None:
        """Have an owner told soon; what waits for an answer or for a retry stays where it is.

        A spread does not hold news back: whoever pulled a moment ago may be the only
        holder, and an owner that has had our closing already says "nobody" until told.
        """
        pair = self._pairs[owner]
        # A retry may have found nothing left to tell: then none waits, whatever failed before.
        is_waiting = pair.in_flight is not None or (pair.failures > 0 and self._timers.has(owner))
        if not is_waiting:
            self._timers.set_earlier(owner, now + COALESCE_INTERVAL)
        self._stale_notes[owner] = None

    def _reschedule(self, owner: str, pair: Pair, now: float) -> None:
        self._timers.clear(owner)
        self._stale_notes[owner] = None
        if pair.pending:
            self._due(owner, now + COALESCE_INTERVAL)
        elif pair.must_close:
            self._due(owner, max(now + COALESCE_INTERVAL, pair.resync_at))

    def _due(self, owner: str, at: float) -> None:
        self._timers.set(owner, at)
        self._stale_notes[owner] = None
