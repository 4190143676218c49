"""What stands between one holder and one owner: what is told, what is under way, what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.directory.codec import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, record_bytes
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.records import Record, Summary

RESYNC_INTERVAL: Final = 5.0
"""Shortest time between two resyncs of a pair; doubles while they do not help, up to the largest."""

MAX_RESYNC_INTERVAL: Final = 300.0


@dataclass(slots=True)
class Flight:
    """A message that is not acknowledged yet."""

    id: int
    keys: dict[PackedKey, None]
    has_closing: bool
    by_stream: bool = False
    """Sent by TCP: it may be long under way."""


@dataclass(slots=True)
class Pair:
    """The holder's side of a pair."""

    pending: dict[PackedKey, None] = field(default_factory=dict)
    must_close: bool = False
    """Whether the owner waits to hear that this was all."""
    closes_again_until: float = 0.0
    """Until when each change of the ring is closed anew: an owner believes closings by its own ring only."""
    in_flight: Flight | None = None
    failures: int = 0
    round: int = 0
    round_sequence: int = 0
    """The holder's sequence as the round began."""
    resync_at: float = 0.0
    """When the next resync may begin."""
    resync_interval: float = RESYNC_INTERVAL
    summary: Summary = field(default_factory=Summary)
    """Of all that the owner should hold, told or not."""

    @property
    def is_clean(self) -> bool:
        """Whether the owner has acknowledged all."""
        return not self.pending and not self.must_close and self.in_flight is None

    def owes(self, key: PackedKey) -> bool:
        """Return whether the owner has not acknowledged the latest word about a key."""
        return key in self.pending or (self.in_flight is not None and key in self.in_flight.keys)

    def tells(self, key: PackedKey) -> bool:
        """Return whether the owner knows the latest word about a key, or will in a moment if nothing is lost.

        What waits for an acknowledgement goes out with it, a round trip later.
        """
        is_prompt = self.failures == 0 and (self.in_flight is None or not self.in_flight.by_stream)
        return is_prompt or not self.owes(key)

    def learn(self, record: Record, boot: int) -> None:
        """Owe the owner a record that it did not own before."""
        self.summary = self.summary.with_change(old=None, new=record, boot=boot)
        self.pending[record.key] = None

    def forget(self, record: Record, boot: int) -> None:
        """Owe the owner nothing of a record that it owns no more."""
        self.summary = self.summary.with_change(old=record, new=None, boot=boot)
        self.pending.pop(record.key, None)
        if self.in_flight is not None:
            self.in_flight.keys.pop(record.key, None)

    def take_off(self, id_: int, own: Mapping[PackedKey, Record]) -> list[PackedKey]:
        """Put as much as one message takes in flight, with the closing if it is the last; return its keys."""
        keys: dict[PackedKey, None] = {}
        size = 0
        for key in self.pending:
            size += record_bytes(own[key])
            if len(keys) == MAX_BATCH_RECORDS or size > MAX_BATCH_BYTES:
                break
            keys[key] = None
        is_last = len(keys) == len(self.pending)
        for key in keys:
            del self.pending[key]
        self.in_flight = Flight(id_, keys, self.must_close and is_last)
        self.must_close = self.must_close and not is_last
        return list(keys)

    def take_back(self, own: Mapping[PackedKey, Record]) -> None:
        """Owe again what was in flight and did not arrive."""
        flight = self.in_flight
        if flight is not None:
            self.in_flight = None
            self.failures += 1
            self.must_close = self.must_close or flight.has_closing
            self.pending.update((key, None) for key in flight.keys if key in own)
