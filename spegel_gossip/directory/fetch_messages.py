"""What askers and owners send each other while a blob is fetched: asked, told, and how far it is.

They travel as directory messages do, in the same numbering (`messages.MessageKind`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from spegel_gossip.directory.keys import PackedKey

MAX_FAILED_TOLD: Final = 8
"""Sources that an asker names as failed: more were never tried within one request."""

MAX_SOURCES_TOLD: Final = 8
"""Sources named in one answer; whoever needs another asks again."""

MAX_PROGRESS_ITEMS: Final = 16
"""Ingests in one report, so that it fits into a datagram."""


class FetchKind(IntEnum):
    """The first field of a message, above those of `messages.MessageKind`: only append."""

    ASK = 32
    TOLD = 33
    PROGRESS = 34


class Verdict(IntEnum):
    """What an asker is to do. The numbers are on the wire: only append."""

    READ = 1
    """Read from the sources, which have it all."""

    ATTACH = 2
    """Read from the source as its own copy grows, and count as its child."""

    LEASE = 3
    """Fetch from upstream: this is the leave for it."""

    WAIT = 4
    """Wait: the owner speaks up again, under the same id, as soon as it can."""

    REFUSED = 5
    """Do without: fetch from upstream, uncounted."""

    YOUNG = 6
    """Ask another owner: holders may exist that have not told this one."""


@dataclass(frozen=True, slots=True)
class FetchAsk:
    """Asker to owner: I have an open ingest of this; from whom do I get the bytes?"""

    id: int
    key: PackedKey
    view: int
    """Hash of the key's preference list as the asker sees it."""
    offset: int
    """Bytes that the asker's ingest has."""
    total: int
    must_decide: bool = False
    """The owners before this one are silent, or all are young: this one decides."""
    is_urgent: bool = False
    """The asker cannot wait any longer."""
    failed: tuple[int, ...] = ()
    """Name hashes of sources that failed the asker a moment ago."""
    stalled: tuple[int, ...] = ()
    """Name hashes of sources that sent nothing for too long, which need not be their fault."""
    burden: int = 0
    """Blobs that the asker fetches from upstream, or asked for before this one and was not told of yet."""
    is_crowded: bool = False
    """Other members pull the same image now, as the asker was told a moment ago."""
    is_blind: bool = False
    """Nobody can read the asker's copy before it is whole: its content root cannot be read."""
    busy: tuple[int, ...] = ()
    """Name hashes of sources that had no upload to spare, a moment ago."""
    together: int = 0
    """Bytes that the asker lacked of the image, this blob with them, when it began; 0 if unknown."""
    stalled_ms: tuple[int, ...] = ()
    """For each of `stalled`, the milliseconds since the asker gave it up; none from older releases."""
    gives_way: bool = False
    """Its slot is wanted: it takes a lease, or reads what is small, and else comes again later."""


@dataclass(frozen=True, slots=True)
class FetchTold:
    """Owner to asker: what to do."""

    id: int
    verdict: int
    """A Verdict, or the number of a later release."""
    sources: tuple[int, ...] = ()
    """Name hashes, the one to try first in front."""
    size: int = 0
    token: int = 0
    """With a lease: by which its progress is known."""
    stamp: int = 0
    """With a source that is still receiving: the asker's place among those who receive."""
    depth: int = 0
    """How many receiving nodes stand between upstream and the asker; 0 where the source has it all."""
    is_crowded: bool = False
    """Others asked for it within the last 2 s. Sent unasked, too, to whoever fetches it."""


class ProgressState(IntEnum):
    """What became of an ingest. The numbers are on the wire: only append."""

    ARRIVING = 0
    DONE = 1
    ENDED = 2

    IDLE = 3
    """Its request ended: whoever sent it waits for no answer and reads from nobody until it asks again.

    Releases that do not know this take it for ARRIVING, and keep a place for the sender for a while.
    """


@dataclass(frozen=True, slots=True)
class ProgressItem:
    """One ingest of the sender's."""

    key: PackedKey
    token: int
    """Of the lease it is fetched under; 0 where it is read from another node."""
    offset: int
    total: int
    state: int = ProgressState.ARRIVING
    parent: int = 0
    """Name hash of the node that it is read from, for owners that did not name it; 0 for none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Receiver to owner: how far my ingests are."""

    id: int
    sharing: int
    """Blobs of the sender's that share its line: without a step yet, or fetched from upstream."""
    is_growing: bool
    """Whether any fetch of the sender's from upstream grew since its last report."""
    items: tuple[ProgressItem, ...]
    uplink: int = 0
    """Bytes a second that the sender was seen to send when it sent all it could; 0 if it never had to."""
    has_spare: bool = False
    """Whether its uplink would bear one more child as it is used now."""


FetchMessage = FetchAsk | FetchTold | Progress
