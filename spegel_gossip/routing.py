"""The router port: who has a key, and telling the owners what we have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.swim.address import Address

Key = Digest | TagName
"""What the directory is about: a digest, or a tag by its full name."""


class RoutingError(SpegelGossipError):
    """The router has no holder to give."""


class NoHolderError(RoutingError):
    """The owners answered that nobody has it."""

    def __init__(self, key: Key) -> None:
        """Keep what was asked for."""
        self.key = key
        super().__init__(f"no node of the cluster has {key}")


class FetchLeasedError(NoHolderError):
    """This node is the one to fetch it from upstream, and the others wait for what it gets."""


class SlotWantedError(RoutingError):
    """Somebody else is to fetch it or has it, and this request was to give way in that case."""

    def __init__(self, key: Key) -> None:
        """Keep what was asked for."""
        self.key = key
        super().__init__(f"{key} comes from another node, and its slot is wanted here")


class OwnersUnreachableError(RoutingError):
    """None of the owners could be asked."""

    def __init__(self, key: Key) -> None:
        """Keep what was asked for."""
        self.key = key
        super().__init__(f"no owner of {key} answered")


class AllHoldersFailedError(RoutingError):
    """Everybody who was said to have it was tried and failed."""

    def __init__(self, key: Key, attempts: Sequence[str]) -> None:
        """Keep what was asked for, and for each attempt `name: what happened`."""
        self.key = key
        self.attempts = tuple(attempts)
        super().__init__(
            f"{key}: {len(self.attempts)} holders failed: {'; '.join(self.attempts) or 'none tried'}"
        )


class Purpose(Enum):
    """What the asker is going to do, which decides how long an answer is good.

    A GET that may end in a fetch lease asks through `FetchRouter`: there the first live owner decides.
    """

    READ = "read"
    """Learn who has it (HEAD, tags, batches): an answer serves all who ask within a second."""

    FETCH = "fetch"
    """Get the bytes (GET): an answer serves one, as whoever asks again got nothing from those it named."""

    SEARCH = "search"
    """Get the bytes although those whom one owner named are of no use: every owner is asked."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A live member, as somebody who can be talked to."""

    name: str
    zone: str
    addresses: tuple[Address, ...]
    """Its peer addresses, the one to try first in front."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Live members who have a key, in the order in which they should be tried."""

    key: Key
    holders: tuple[Peer, ...]
    """Complete holders; never empty, never this node."""

    size: int
    """Bytes of the blob; 0 if no holder said."""

    patience: float | None = None
    """Where they are still receiving it themselves: seconds without a byte after which to leave them."""

    stamp: int = 0
    """This node's place among those who receive it."""


@dataclass(frozen=True, slots=True)
class FetchNeed:
    """What this node lacks of a blob that its containerd is fetching."""

    offset: int
    """Bytes that are here."""

    total: int
    """Bytes in all; 0 if unknown."""

    failed: tuple[str, ...] = ()
    """Sources that did not give it."""

    stalled: tuple[Complaint, ...] = ()
    """Sources that began to, and then sent nothing for too long."""

    busy: tuple[str, ...] = ()
    """Sources that had no upload to spare."""

    waited: float = 0.0
    """Seconds for which containerd has been waiting."""

    is_blind: bool = False
    """Whether nobody can read what is here before it is whole: the content root cannot be read."""

    is_last: bool = True
    """Whether it would not bear one more answer without a byte, and so will not come back to wait again."""

    gives_way: bool = False
    """Whether its slot is wanted here: it takes a lease, and neither waits nor reads."""


@dataclass(frozen=True, slots=True)
class TagHolders:
    """What a tag names, by the newest observation, and who has that manifest."""

    name: TagName
    digest: Digest
    observed_at: float
    """When upstream last said so, unix seconds; 0 if nobody knows."""

    holders: tuple[Peer, ...]


class Router(Protocol):
    """Finds holders and keeps the owners informed."""

    async def lookup(self, digest: Digest, purpose: Purpose) -> Holders:
        """Return the live holders of a blob, best first.

        Raises:
            NoHolderError: the owners said nobody.
            OwnersUnreachableError: nobody could be asked.
        """

    async def lookup_tag(self, name: TagName) -> TagHolders:
        """Return what a tag names in the cluster.

        Raises:
            NoHolderError: nobody has a whole image of that tag.
            OwnersUnreachableError: nobody could be asked.
        """

    def lookup_ahead(self, parts: Mapping[Digest, int], *, has_ingests: bool = False) -> None:
        """Take in what this node lacks of an image, and look that up in batches, in the background.

        Args:
            parts: the sizes of what it lacks, in bytes
            has_ingests: whether they will be asked for through `FetchRouter`, which asks the owner of
                each: then nothing is looked up, as nobody would read the answers
        """

    def tag_answered(self, name: TagName, observed_at: float | None) -> None:
        """Remember what this node's mirror just told its containerd about a tag.

        Args:
            name: the tag that was asked for
            observed_at: the observation that was passed on; None for a 404, after
                which the image event that follows is upstream's own word
        """

    def tag_observed_at(self, name: TagName, digest: Digest) -> float | None:
        """Return when upstream said that a tag names a digest, as far as this node knows.

        In unix seconds; 0 if nobody knows; None if all that was said then was purged, so
        that what is here is not to be answered with.
        """

    def report_miss(self, digest: Digest, holder: str) -> None:
        """Tell the owners that a holder answered 404 for what its record promised."""

    def report_unreachable(self, holder: str) -> None:
        """Remember that connecting to a holder failed, so that it is skipped for a while here."""

    def report_transfer(self, holder: str, *, moved_bytes: int, seconds: float) -> None:
        """Remember how fast a holder was; feeds the choice between two holders."""


class SlotLine(Protocol):
    """The line in which all requests of a containerd stand for a slot, those to upstream too."""

    def waiting_leases(self, *, but: Digest) -> int:
        """Return how many of this node's fetches from upstream may wait for a slot, one blob's left out."""

    def are_wanted(self, *, but: Digest) -> bool:
        """Return whether other requests give way: many wait, or one waited so long that a slot was freed."""

    def open_line(self) -> bool:
        """Return whether an answer from a whole copy ends in its middle, for a fetch that waits long.

        It is said to one in a while: those who are in line before that fetch give way.
        """

    def came_back(self, given_at: float) -> None:
        """Take in that a request is here again which gave its slot back then, on the loop's clock."""


class FetchRouter(Protocol):
    """Finds whom to read a blob from that is still spreading, or says that this node is to fetch it."""

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        """Return whom to read a blob from, waiting for as long as somebody else receives it.

        Raises:
            FetchLeasedError: this node is to fetch it from upstream.
            NoHolderError: nobody has it, and this node is to do as if it were alone.
            OwnersUnreachableError: no owner answers such a question; `Router.lookup` may be answered.
        """

    def place_of(self, digest: Digest) -> tuple[int, int]:
        """Return how many bytes of a blob have arrived here, and this node's stamp among its receivers."""

    def left(self, digest: Digest) -> None:
        """Take in that a request which asked whom to read a blob from ended before the blob did."""

    def peer(self, name: str) -> Peer | None:
        """Return a live member as somebody who can be talked to; None if it is none, or this node."""

    @property
    def slots(self) -> SlotLine:
        """The line for containerd's slots."""
