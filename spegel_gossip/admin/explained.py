"""The JSON of `explain` and `purge`: made in `node`, read by the CLI. Keys are added, never renamed."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class PurgeShape(TypedDict):
    """POST /purge with `tag`."""

    tag: str
    at: float
    """Up to when observations of the tag count no more, unix seconds."""

    members: int
    told: int
    """Members that have acknowledged it, this node among them; the others are told on."""


class NamingShape(TypedDict):
    """That a tag names a digest, by what some holders observed."""

    digest: str
    observed_at: float
    """Unix seconds; 0 if nobody knows."""

    holders: list[str]
    """Some who say so."""


class ExplainedOwnerShape(TypedDict):
    """An owner of a key, and what it says now."""

    name: str
    state: str
    """`alive`, `suspect`, `dead` or `left`."""

    answered: bool
    young: bool
    agrees: bool
    """It sees the same owners as this node."""

    hidden: list[str]
    """Holders it names to nobody for a while, as a miss was reported of them."""


class ExplainedHolderShape(TypedDict):
    """A node that has the bytes."""

    name: str
    zone: str
    kind: str
    """`complete` or `partial`."""

    state: str


class ExplainedArrivalShape(TypedDict):
    """A node at which a blob is still arriving."""

    name: str
    zone: str
    state: str
    offset: int
    total: int
    """Bytes in all; 0 if unknown."""

    reads_from: str
    """Whose copy it reads; empty where it fetches from the registry, or waits."""


class ExplainedLeaseShape(TypedDict):
    """A node's leave to fetch a blob from the registry, for all."""

    holder: str
    offset: int
    total: int
    age: float
    """Seconds."""


class DecisionShape(TypedDict):
    """What a pull on this node would do now."""

    source: str
    """`local`, `peer` or `upstream`."""

    members: list[str]
    """For `peer`: who would be tried, in this order."""

    why: str


class ExplainedTagShape(TypedDict):
    """What the cluster knows of a tag."""

    name: str
    policy: str
    digest: str
    """What it would be answered with, or what it was last seen to name; empty if nobody knows."""

    observed_at: float
    purged_at: float
    """Up to when observations of it count no more; 0 if it was not purged."""

    namings: list[NamingShape]
    """Newest first; more than one is a conflict."""

    owners: list[ExplainedOwnerShape]
    holders: list[ExplainedHolderShape]
    decision: DecisionShape


class ExplainedPartShape(TypedDict):
    """One blob of an image."""

    role: str
    """`index`, `manifest`, `config`, `layer`, or `blob` where its manifest could not be read."""

    digest: str
    size: int
    platform: str
    owners: list[ExplainedOwnerShape]
    holders: list[ExplainedHolderShape]
    leases: list[ExplainedLeaseShape]
    partials: list[ExplainedArrivalShape]
    """Those that are furthest first; those with a lease are here too."""

    waiting: int
    """Nodes that wait to be told whom to read from."""

    decision: DecisionShape


class ExplainShape(TypedDict):
    """GET /explain?image=."""

    image: str
    node: str
    tag: NotRequired[ExplainedTagShape]
    parts: list[ExplainedPartShape]
