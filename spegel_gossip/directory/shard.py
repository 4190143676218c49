"""What an owner knows: the records of its part of the ring, and who may be named.

Records are kept by holder, so that a holder that dies is gone from every answer at
once, by one flag, and back at once when it refutes; and by key, so that an answer
costs as much as the key has holders. Nothing is copied from other owners: what is
missing here is told by its holder.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.directory.messages import AckStatus, Advertise, Closing
from spegel_gossip.directory.records import Record, RecordKind, Summary
from spegel_gossip.directory.ring_change import RingChange
from spegel_gossip.ring.ring import Ring

MAX_RECORDS: Final = 500_000
"""Records an owner keeps; 1,000 members with 2,000 keys each come to 6,000."""

MAX_RECORDS_PER_HOLDER: Final = 100_000
"""Records of one holder, so that one mad member cannot fill the table."""

MAX_HOLDERS: Final = 10_000
"""Holders kept, live or not."""

FORMER_OWNER_INTERVAL: Final = 60.0
"""Seconds an owner answers for keys that the ring took from it, and keeps those it does not own yet."""

TOMBSTONE_INTERVAL: Final = 60.0
"""Seconds a withdrawal is kept: longer than any packet with an older word is under way."""

HIDDEN_INTERVAL: Final = 30.0
"""Seconds a record is named to nobody after a miss was reported, unless its holder speaks up."""

GONE_HOLDER_INTERVAL: Final = 600.0
"""Seconds the records of a dead or left holder are kept masked, for when it refutes."""


@dataclass(slots=True)
class Entry:
    """A record as an owner keeps it."""

    record: Record
    round: int
    """The holder's resync round in which it was last told."""
    hidden_until: float = 0.0


@dataclass(slots=True)
class Holder:
    """What an owner knows of one holder."""

    name: str
    boot: int
    zone: str = ""
    is_live: bool = False
    has_closed: bool = False
    entries: dict[PackedKey, Entry] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)
    """Of the records whose keys are owned here now: what the holder's notes are compared with."""


class Shard:
    """The records one member keeps as an owner."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._holders: dict[str, Holder] = {}
        self._by_key: dict[PackedKey, dict[str, Entry]] = {}
        # Both in the order in which they run out, as what runs out is always added last.
        self._foreign: dict[PackedKey, float] = {}
        self._gone: dict[str, float] = {}
        self._tombstones: list[tuple[float, str, PackedKey, int]] = []
        self._records = 0
        self._kinds: Counter[int] = Counter()
        self.refused = 0
        """Records that found the tables full; their holders are told again and again that they differ."""
        self._ring = Ring()

    def member_alive(self, name: str, boot: int, zone: str, now: float) -> None:
        """Name a member in answers from now on; the records of an earlier boot are dropped."""
        holder = self._holder(name, boot, now)
        if holder is not None and holder.boot == boot:
            holder.zone, holder.is_live = zone, True
            self._gone.pop(name, None)

    def member_gone(self, name: str, now: float) -> None:
        """Name a member no more; its records wait for its return."""
        holder = self._holders.get(name)
        if holder is not None and holder.is_live:
            holder.is_live = False
            self._gone[name] = now + GONE_HOLDER_INTERVAL

    def ring_changed(self, ring: Ring, now: float, change: RingChange | None = None) -> None:
        """Take the ring over; keys that are no longer owned here are answered for a while.

        Args:
            ring: the ring from now on
            now: from when the while is counted
            change: what was found out beforehand about the change from the ring until now
        """
        change = change or RingChange(self._ring, ring)
        self._ring = ring
        for key, handover in change.among(self._by_key):
            is_foreign = self._name in handover.lost
            if is_foreign == (key in self._foreign) or (not is_foreign and self._name not in handover.gained):
                continue
            if is_foreign:
                self._foreign[key] = now + FORMER_OWNER_INTERVAL
            else:
                del self._foreign[key]
            for name, entry in self._by_key[key].items():
                old, new = (entry.record, None) if is_foreign else (None, entry.record)
                self._count(self._holders[name], old=old, new=new)

    def advertised(self, name: str, message: Advertise, now: float) -> AckStatus:
        """Take in what a holder says of itself; order and repetition make no difference."""
        holder = self._holder(name, message.boot, now)
        if holder is None or message.boot < holder.boot:
            # An earlier life's packet, late; its sender is no more and needs no other answer.
            return AckStatus.OK
        for record in message.records:
            self._put(holder, record, message.round, now)
        if message.closing is None:
            return AckStatus.OK
        return self._close(holder, message.closing, message.round)

    def has_record(self, name: str, key: PackedKey) -> bool:
        """Return whether a holder's latest word about a key is that it has it."""
        entry = self._by_key.get(key, {}).get(name)
        return entry is not None and not entry.record.is_withdrawn

    def summary_of(self, name: str, boot: int | None = None) -> Summary:
        """Return the summary of a holder's records that are owned here now."""
        holder = self._holders.get(name)
        return Summary() if holder is None or boot not in {None, holder.boot} else holder.summary

    def has_closed(self, name: str, boot: int) -> bool:
        """Return whether a holder has told all it had, in this boot."""
        holder = self._holders.get(name)
        return holder is not None and holder.boot == boot and holder.has_closed

    def hide(self, key: PackedKey, name: str, now: float) -> bool:
        """Name a holder no more for a while; return whether there was something to hide."""
        entry = self._by_key.get(key, {}).get(name)
        if entry is None or entry.record.is_withdrawn or entry.hidden_until > now:
            return False
        entry.hidden_until = now + HIDDEN_INTERVAL
        return True

    def live_records(self, key: PackedKey, now: float) -> Iterator[tuple[Holder, Record]]:
        """Yield what may be said of a key: records of live holders that are not withdrawn or hidden."""
        for name, entry in self._by_key.get(key, {}).items():
            holder = self._holders[name]
            if holder.is_live and not entry.record.is_withdrawn and entry.hidden_until <= now:
                yield holder, entry.record

    def hidden_holders(self, key: PackedKey, now: float) -> list[Holder]:
        """Return the live holders that are named to nobody, as a miss was reported of them."""
        return [
            self._holders[name]
            for name, entry in self._by_key.get(key, {}).items()
            if entry.hidden_until > now and self._holders[name].is_live and not entry.record.is_withdrawn
        ]

    @property
    def keys(self) -> Collection[PackedKey]:
        """The keys of all records; a live view."""
        return self._by_key.keys()

    def owns(self, key: PackedKey) -> bool:
        """Return whether the key is owned here, by the ring of now."""
        return key not in self._foreign if key in self._by_key else self._owns(key)

    def counts(self) -> dict[str, int]:
        """Return how many records there are, by kind; `unknown` are those of later releases."""
        counts = {kind.name.lower(): self._kinds[kind] for kind in RecordKind}
        return {**counts, "unknown": self._records - sum(counts.values())}

    def next_timer_at(self) -> float | None:
        """Return when something kept for a while runs out."""
        ends = [self._tombstones[0][0]] if self._tombstones else []
        for kept in (self._foreign, self._gone):
            ends += list(islice(kept.values(), 1))
        return min(ends, default=None)

    def handle_timer(self, now: float) -> None:
        """Forget what was kept long enough."""
        while self._tombstones and self._tombstones[0][0] <= now:
            _, name, key, sequence = heapq.heappop(self._tombstones)
            entry = self._by_key.get(key, {}).get(name)
            if entry is not None and entry.record.is_withdrawn and entry.record.sequence == sequence:
                self._drop(self._holders[name], key)
        for key in [key for key, until in self._foreign.items() if until <= now]:
            for name in list(self._by_key.get(key, {})):
                self._drop(self._holders[name], key)
        for name in [name for name, until in self._gone.items() if until <= now]:
            holder = self._holders.pop(name)
            self._drop_all(holder, list(holder.entries))
            del self._gone[name]

    def _holder(self, name: str, boot: int, now: float) -> Holder | None:
        holder = self._holders.get(name)
        if holder is None:
            if len(self._holders) >= MAX_HOLDERS:
                return None
            holder = self._holders[name] = Holder(name, boot)
            # Heard of before membership says so, or after it said gone.
            self._gone[name] = now + GONE_HOLDER_INTERVAL
        elif boot > holder.boot:
            self._drop_all(holder, list(holder.entries))
            holder.boot, holder.has_closed = boot, False
        return holder

    def _put(self, holder: Holder, record: Record, round_: int, now: float) -> None:
        entry = holder.entries.get(record.key)
        if entry is not None:
            entry.round = max(entry.round, round_)
            if record.sequence <= entry.record.sequence:
                return
            if self.owns(record.key):
                self._count(holder, old=entry.record, new=record)
            self._kinds[entry.record.kind] -= 1
            entry.record, entry.hidden_until = record, 0.0
        else:
            if self._records >= MAX_RECORDS or len(holder.entries) >= MAX_RECORDS_PER_HOLDER:
                self.refused += 1
                return
            if record.key not in self._by_key and not self._owns(record.key):
                # Its sender may see a ring that is still on its way to us.
                self._foreign[record.key] = now + FORMER_OWNER_INTERVAL
            entry = Entry(record, round_)
            self._by_key.setdefault(record.key, {})[holder.name] = entry
            holder.entries[record.key] = entry
            self._records += 1
            if record.key not in self._foreign:
                self._count(holder, old=None, new=record)
        self._kinds[record.kind] += 1
        if record.is_withdrawn:
            ends_at = now + TOMBSTONE_INTERVAL
            heapq.heappush(self._tombstones, (ends_at, holder.name, record.key, record.sequence))

    def _close(self, holder: Holder, closing: Closing, round_: int) -> AckStatus:
        holder.has_closed = True
        if round_ > 0:
            self._drop_untold(holder, closing, round_)
        if closing.epoch == self._ring.epoch and closing.summary != holder.summary:
            return AckStatus.DIFFERS
        return AckStatus.OK

    def _drop_untold(self, holder: Holder, closing: Closing, round_: int) -> None:
        # Not the withdrawn: their holder tells them once, and a late copy of what they end must meet them.
        untold = [
            key
            for key, entry in holder.entries.items()
            if entry.round < round_
            and not entry.record.is_withdrawn
            and entry.record.sequence <= closing.last_sequence
            and key not in self._foreign
        ]
        self._drop_all(holder, untold)

    def _drop_all(self, holder: Holder, keys: Iterable[PackedKey]) -> None:
        for key in keys:
            self._drop(holder, key)

    def _drop(self, holder: Holder, key: PackedKey) -> None:
        entry = holder.entries.pop(key)
        if key not in self._foreign:
            self._count(holder, old=entry.record, new=None)
        entries = self._by_key[key]
        del entries[holder.name]
        if not entries:
            del self._by_key[key]
            self._foreign.pop(key, None)
        self._records -= 1
        self._kinds[entry.record.kind] -= 1

    def _count(self, holder: Holder, *, old: Record | None, new: Record | None) -> None:
        holder.summary = holder.summary.with_change(old=old, new=new, boot=holder.boot)

    def _owns(self, key: PackedKey) -> bool:
        return self._name in self._ring.preference_list(token_of(key))
