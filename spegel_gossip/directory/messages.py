"""What members send each other about the directory.

Every message has an `id` of its sender's choosing, by which the answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.records import Record, Summary

MAX_HOLDERS_ANSWERED: Final = 64
"""Holders named in one answer: 512 bytes, and more choice than anybody uses."""

MAX_NAMINGS: Final = 8
"""Digests told of one tag to whoever wants it explained."""

MAX_NAMING_HOLDERS: Final = 4
"""Holders told of each of these."""

MAX_ARRIVALS_TOLD: Final = 12
"""Nodes told at which a blob is still arriving, those that fetch it from upstream among them."""

MAX_PURGES_TOLD: Final = 512
"""Purges in one message."""

MAX_QUESTION_KEYS: Final = 24
"""Keys in one question, so that each still gets a few holders in one datagram of answer."""


class MessageKind(IntEnum):
    """The first field of a message. The numbers are on the wire: only append."""

    ADVERTISE = 1
    ACK = 2
    RESYNC = 3
    QUESTION = 4
    ANSWER = 5
    MISS = 6
    RECHECK = 7
    PURGE = 8


class AskedFor(IntEnum):
    """What an asker is going to do. The numbers are on the wire: only append."""

    READ = 0
    FETCH = 1
    EXPLAIN = 2


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of what a holder has to tell: what an owner should now hold of it."""

    epoch: int
    """The holder's ring; owners of another ring do not compare."""
    summary: Summary
    last_sequence: int
    """The holder's sequence as the round began; older records not told again in a resync are gone."""


@dataclass(frozen=True, slots=True)
class Advertise:
    """Holder to owner: records of mine, whose owner you are."""

    id: int
    boot: int
    """The holder's boot, with which `sequence` of the records forms their number."""
    round: int
    """How many resyncs of this pair have begun; 0 at first."""
    records: tuple[Record, ...]
    closing: Closing | None = None


class AckStatus(IntEnum):
    """What an owner made of an advertisement. The numbers are on the wire: only append."""

    OK = 0
    DIFFERS = 1
    REFUSED = 2
    """Of a purge: it is too old by the receiver's clock. Nodes of older builds say OK to all."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Owner to holder: your records are in; `DIFFERS` if the closing summary is not mine."""

    id: int
    status: int


@dataclass(frozen=True, slots=True)
class Resync:
    """Owner to holder: your note is not what I hold of you; tell me everything again."""

    id: int
    boot: int
    """The holder's boot that the owner speaks of; of an earlier one, it is no news."""


@dataclass(frozen=True, slots=True)
class QuestionKey:
    """A key somebody asks for."""

    key: PackedKey
    view: int
    """Hash of the key's preference list as the asker sees it."""


@dataclass(frozen=True, slots=True)
class Question:
    """Asker to owner: who has these?"""

    id: int
    purpose: int
    """An AskedFor, or the number of a later release."""
    keys: tuple[QuestionKey, ...]


@dataclass(frozen=True, slots=True)
class Naming:
    """That a tag names a digest, by somebody's observation."""

    digest: PackedKey
    observed_at_ms: int
    """The newest observation of it, unix milliseconds; 0 if nobody knows."""
    holders: tuple[int, ...]
    """Name hashes of some who say so."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A node at which a blob is still arriving."""

    holder: int
    """Hash of its name."""
    offset: int
    total: int
    """Bytes in all; 0 if unknown."""
    lease_age_ms: int | None = None
    """For how long it has had the lease to fetch it from upstream; None where it has none."""
    parent: int = 0
    """Name hash of whom it reads from; 0 where that is nobody."""


@dataclass(frozen=True, slots=True)
class Spreading:
    """How a blob spreads, as far as an owner knows."""

    arrivals: tuple[Arrival, ...] = ()
    """Those that fetch from upstream in front, then those that are furthest."""
    receivers: int = 0
    """Nodes at which it arrives, those not named above too."""
    waiting: int = 0
    """Nodes that wait for the owner's word whom to read from."""
    refused_ms: int = 0
    """For how long yet everybody is left to fetch it for itself, as three leases in a row were lost."""


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What an owner says of one key; nobody if `holders` is empty and `digest` missing."""

    is_young: bool
    """The owner may not have heard from all holders yet."""
    has_same_view: bool
    """The owner sees the asker's preference list, and itself in it."""
    holders: tuple[int, ...] = ()
    """Name hashes of live complete holders, the asker's zone in front; never the asker."""
    partials: tuple[int, ...] = ()
    """Name hashes of live partial holders."""
    size: int = 0
    digest: PackedKey | None = None
    """For a tag: what the newest observation says it names."""
    observed_at_ms: int = 0
    namings: tuple[Naming, ...] = ()
    """To an `EXPLAIN` about a tag: all that it is said to name, newest first."""
    hidden: tuple[int, ...] = ()
    """To an `EXPLAIN`: name hashes of holders that are named to nobody after a miss was reported."""
    purged_at_ms: int = 0
    """To an `EXPLAIN` about a tag: up to when observations of it count no more; 0 if it was not purged."""
    spreading: Spreading | None = None
    """To an `EXPLAIN` about a blob that is fetched, or was a moment ago."""

    @property
    def is_nobody(self) -> bool:
        """Whether the owner knows of no whole copy."""
        return not self.holders and self.digest is None

    @property
    def is_authoritative(self) -> bool:
        """Whether its "nobody" may be believed without asking another owner."""
        return self.has_same_view and not self.is_young


@dataclass(frozen=True, slots=True)
class Answer:
    """Owner to asker: one answer for each key of the question, in its order; the last may be missing."""

    id: int
    epoch: int
    answers: tuple[KeyAnswer, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """Asker to owner: this holder answered 404 for what its record promised."""

    id: int
    key: PackedKey
    holder: int


@dataclass(frozen=True, slots=True)
class Recheck:
    """Owner to holder: somebody missed this at you; look, and withdraw or advertise it again."""

    id: int
    key: PackedKey


@dataclass(frozen=True, slots=True)
class PurgeItem:
    """A tag, and up to when observations of it count no more."""

    key: PackedKey
    at_ms: int


@dataclass(frozen=True, slots=True)
class Purge:
    """Anybody to everybody: withdraw and refuse what was observed of these tags until then."""

    id: int
    items: tuple[PurgeItem, ...]


Message = Advertise | Ack | Resync | Question | Answer | Miss | Recheck | Purge
