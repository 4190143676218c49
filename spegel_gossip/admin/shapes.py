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
    address: str
    """The one of them that it is sent to."""

    rtt_ms: float | None
    """Smoothed round trip of direct pings; None before the first."""

    state_age_s: float
    last_probe_age_s: float | None
    last_ack_age_s: float | None
    udp_blocked: bool
    """It answers over TCP only."""

    suspected_by: list[str]
    """The first accuser in front."""

    suspicion_left_s: float | None
    """Until it is held dead, unless it denies it; None if it is not suspected."""

    clock_offset_s: float | None
    """By how much its clock is ahead of this node's; None before its first ack."""

    is_self: bool


class ConflictShape(TypedDict):
    """Another process that lives under this node's name."""

    address: str
    boot: int


class MembersShape(TypedDict):
    """GET /members."""

    cluster: str
    self: str
    local_health: int
    """Lifeguard's score of this node: 0 is well, 7 is a node that cannot keep up."""

    conflicts: list[ConflictShape]
    members: list[MemberShape]


class KeyShape(TypedDict):
    """A cluster key, by what may be shown of it."""

    fingerprint: str
    encrypts: bool


class KeyringShape(TypedDict):
    """GET /keyring, and the answer to each change of it."""

    file: str
    keys: list[KeyShape]


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
    named_by: dict[str, list[str]]
    """By each owner that answered, whom it names as having the whole: they agree but for a moment."""


class LeaseShape(TypedDict):
    """A fetch from the registry that this node, as an owner, gave leave for."""

    digest: str
    holder: str
    offset: int
    total: int
    age: float
    """Seconds since it was granted, or first heard of."""

    receivers: int
    """Nodes with an open ingest of the blob, the holder with them."""


class LeaseCountsShape(TypedDict):
    """What this node did as an owner since its start."""

    granted: int
    attached: int
    """Nodes told to read from one that receives the blob, or has it."""

    refused: int
    lost: dict[str, int]
    """By why: `stalled`, `silent`, `ended`."""


class HeldShape(TypedDict):
    """Requests of this node's containerd that waited because the owner said so."""

    now: int
    total: int


class ArrivedShape(TypedDict):
    """Bytes that came to this node since its start, by where they came from."""

    upstream: int
    complete: int
    """From nodes that had the whole blob."""

    partial: int
    """From nodes that were still receiving it."""

    saved: int
    """What the registry did not have to send: the last two together."""


class LeasesShape(TypedDict):
    """GET /leases."""

    granted: list[LeaseShape]
    fetching: list[str]
    """Digests that this node fetches from the registry itself."""

    waiting: int
    """Nodes that wait for this one's word whom to read from."""

    counts: LeaseCountsShape
    held: HeldShape
    yields: int
    """Answers ended before their first byte, so that another request gets containerd's slot."""

    bytes: ArrivedShape


class PrefetchNodeShape(TypedDict):
    """How one node stands with a prefetched image."""

    name: str
    zone: str
    state: str
    """`waiting`, `pulling`, `done` or `failed`."""

    here: int
    total: int
    """Bytes that were to come and that are there; 0 before it is known, and where all was there."""

    upstream: int
    peers: int
    """Bytes of them by where they came from; both 0 where its containerd did not ask the mirror."""

    seconds: float
    problem: str
    """Empty, or one of `pulling.PullProblem`, in small letters."""

    detail: str


class PrefetchShape(TypedDict):
    """POST /prefetch with `image`, `nodes`, `at_once`; GET /prefetch?id=; POST /prefetch/stop with `id`."""

    id: str
    image: str
    ended: bool
    nodes: list[PrefetchNodeShape]


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
