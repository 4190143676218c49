"""What can be seen of ring and directory from outside: values for the CLI and the status page."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import Key


@dataclass(frozen=True, slots=True)
class RingShare:
    """A member's part of the ring."""

    name: str
    zone: str
    share: float
    """Of all keys, how many have it as first owner: 0 to 1."""
    tokens: int
    """Its virtual nodes."""


@dataclass(frozen=True, slots=True)
class OwnerView:
    """What one owner of a key says, asked a moment ago."""

    name: str
    has_answered: bool
    is_young: bool
    """It joined lately and may not have been told of every holder yet."""
    has_same_view: bool
    """It sees the same owners as this node."""
    holders: tuple[str, ...]
    partials: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Holders that it names to nobody for a while, as a miss was reported of them."""


@dataclass(frozen=True, slots=True)
class NamingView:
    """That a tag names a digest, by what some holders observed."""

    digest: str
    observed_at: float
    """When upstream last said so, unix seconds; 0 if nobody knows."""
    holders: tuple[str, ...]
    """Some who say so."""


@dataclass(frozen=True, slots=True)
class HolderView:
    """A member that has a key, by what any owner says."""

    name: str
    zone: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class ArrivalView:
    """A member at which a blob is still arriving, by what its owners say."""

    name: str
    zone: str
    offset: int
    total: int
    """Bytes in all; 0 if unknown."""
    lease_age: float | None
    """Seconds for which it has had the lease to fetch it from upstream; None where it has none."""
    reads_from: str
    """Whose copy it reads; empty where it fetches, or waits."""


@dataclass(frozen=True, slots=True)
class SpreadingView:
    """How a blob spreads: arrivals that fetch from upstream in front, then those that are furthest."""

    arrivals: tuple[ArrivalView, ...] = ()
    receivers: int = 0
    """Members at which it arrives, those that no owner had room to name too."""
    waiting: int = 0
    """Members that wait to be told whom to read from."""
    refused_for: float = 0.0
    """Seconds for which yet everybody is left to fetch for itself, as three leases in a row were lost."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its owners see it now."""

    key: Key
    owners: tuple[OwnerView, ...]
    holders: tuple[HolderView, ...]
    size: int
    digest: str = ""
    """For a tag: what it names; empty if nobody knows."""
    observed_at: float = 0.0
    """For a tag: when upstream last said so, unix seconds; 0 if nobody knows."""
    namings: tuple[NamingView, ...] = ()
    """For a tag: all that it is said to name, newest first; more than one is a conflict."""
    purged_at: float = 0.0
    """For a tag: up to when observations of it count no more, unix seconds; 0 if it was not purged."""
    spreading: SpreadingView = SpreadingView()
    """For a blob: who is receiving it."""


@dataclass(frozen=True, slots=True)
class PurgeView:
    """How far a purge has come."""

    name: TagName
    at: float
    """Up to when observations count no more, unix seconds."""
    members: int
    """Members there are, this node among them."""
    told: int
    """Members that have acknowledged it."""


@dataclass(frozen=True, slots=True)
class DirectoryCounts:
    """How much this node keeps and tells."""

    records: dict[str, int]
    """Records kept as an owner, by kind."""
    advertised: int
    """Keys advertised as a holder."""
