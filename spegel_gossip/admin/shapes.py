"""The JSON that the admin socket answers with: made in `node`, read by the CLI.

`--json` prints these as they are, so they are an interface: keys are added, never
renamed. docs/configuration.md lists them.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class MemberShape(TypedDict):
    """One entry of the membership table."""

    name: str
    state: str
    """`alive`, `suspect`, `dead` or `left`."""

    incarnation: int
    boot: int
    zone: str
    version: str
    addresses: list[str]
    rtt_ms: float | None
    """The last direct ping's round trip; None before the first."""

    suspected_by: list[str]
    is_self: bool


class MembersShape(TypedDict):
    """GET /members."""

    cluster: str
    self: str
    members: list[MemberShape]


class ShareShape(TypedDict):
    """A member's part of the ring."""

    name: str
    share: float
    """Of all keys, how many have it as first owner: 0 to 1."""

    tokens: int


class OwnerShape(TypedDict):
    """An owner of a key."""

    name: str
    young: bool
    """It joined lately and may not have been told of every holder yet."""


class KeyOwnersShape(TypedDict):
    """Who owns a key, the first owner first."""

    key: str
    owners: list[OwnerShape]


class RingShape(TypedDict):
    """GET /ring, with `key` if the query asked about one."""

    epoch: str
    """Hexadecimal; equal on all nodes that see the same members."""

    members: list[ShareShape]
    key: NotRequired[KeyOwnersShape]


class HolderShape(TypedDict):
    """A node that has the bytes."""

    name: str
    zone: str
    kind: str
    """`complete` or `partial`."""

    size: int


class HoldersShape(TypedDict):
    """GET /holders?key=."""

    key: str
    digest: NotRequired[str]
    """What a tag names."""

    owners: list[str]
    holders: list[HolderShape]


class StoreShape(TypedDict):
    """How the content store is, and what is in it."""

    kind: str
    connected: bool
    readable: bool
    reason: str
    blobs: int
    tags: int
    partials: int


class StatusShape(TypedDict):
    """GET /status."""

    node: str
    cluster: str
    version: str
    ready: bool
    reasons: list[str]
    uptime_s: float
    store: StoreShape
    members: dict[str, int]
    """How many in each state."""

    records: dict[str, int]
    """The directory's records here: how many owned, how many advertised."""

    listen: dict[str, str]
    """Address of each endpoint: registry, peers, status."""

    resident_bytes: int
    zero_copy: bool
    """Blobs go from disk to socket within the kernel."""
