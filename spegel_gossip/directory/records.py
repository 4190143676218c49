"""What is said of a key, which of two sayings wins, and a summary of many.

Only the holder writes records about itself, numbered by its boot and a sequence of
its own, so the highest number is the latest word and the merge needs no order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from spegel_gossip.directory.keys import PackedKey

MAX_U64: Final = (1 << 64) - 1


class RecordKind(IntEnum):
    """How much of the key its holder has.

    The numbers are on the wire: only append. An owner keeps and counts kinds that
    it does not know, and names them to nobody.
    """

    WITHDRAWN = 0
    COMPLETE = 1
    PARTIAL = 2


@dataclass(frozen=True, slots=True)
class Record:
    """One holder's latest word about one key."""

    key: PackedKey
    kind: int
    """A RecordKind, or the number of a later release."""
    sequence: int
    size: int = 0
    """Bytes of the blob; for a tag, of the manifest; 0 if unknown."""
    digest: PackedKey | None = None
    """For a tag: what it names."""
    observed_at_ms: int = 0
    """For a tag: when upstream last said so, unix milliseconds; 0 if nobody knows."""

    @property
    def is_withdrawn(self) -> bool:
        """Whether the holder says that it has the key no more."""
        return self.kind == RecordKind.WITHDRAWN


_HASHED = struct.Struct(">QQQ")


def record_hash(record: Record, boot: int) -> int:
    """Return the 64-bit hash of (key, kind, boot, sequence): what a summary adds up."""
    numbers = _HASHED.pack(record.kind, boot, record.sequence)
    return int.from_bytes(hashlib.blake2b(numbers + record.key, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Summary:
    """How many records, and the xor of their hashes: equal summaries mean equal records."""

    count: int = 0
    xor: int = 0

    @classmethod
    def of(cls, records: Iterable[Record], boot: int) -> Self:
        """Add up the records of one holder that are not withdrawals."""
        count, xor = 0, 0
        for record in records:
            if not record.is_withdrawn:
                count += 1
                xor ^= record_hash(record, boot)
        return cls(count, xor)

    def with_change(self, *, old: Record | None, new: Record | None, boot: int) -> Summary:
        """Return the summary after `old` has become `new`."""
        count, xor = self.count, self.xor
        if old is not None and not old.is_withdrawn:
            count, xor = count - 1, xor ^ record_hash(old, boot)
        if new is not None and not new.is_withdrawn:
            count, xor = count + 1, xor ^ record_hash(new, boot)
        return Summary(count, xor)


_NOTE = struct.Struct(">IIQ")
_LOW_EPOCH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Note:
    """What rides on pings: the summary of all that its sender advertises to the member it is sent to.

    It is the net beneath the advertisement: a pair of members that disagrees finds
    out without a packet of the directory's own.
    """

    epoch_low: int
    """The low 32 bits of the sender's ring epoch; notes of another ring say nothing."""
    summary: Summary

    def is_of(self, epoch: int) -> bool:
        """Return whether it was made under the ring of this epoch."""
        return self.epoch_low == epoch & _LOW_EPOCH

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Self | None:
        """Parse a note; None for one too short, as the empty one: its sender has nothing to compare."""
        if len(data) < _NOTE.size:
            return None
        epoch_low, count, xor = _NOTE.unpack_from(data)
        return cls(epoch_low, Summary(count, xor))


def encode_note(epoch: int, summary: Summary) -> bytes:
    """Return the note for a summary under the ring of this epoch, as 16 bytes.

    Without a `Note` in between: after a change of the ring each of a thousand members gets a new one.
    """
    return _NOTE.pack(epoch & _LOW_EPOCH, min(summary.count, _LOW_EPOCH), summary.xor)
