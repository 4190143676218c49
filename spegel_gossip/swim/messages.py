"""The messages of SWIM, parsed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim

MAX_NOTE_BYTES = 24
"""Longest note of the layer above (departure 5)."""


class MessageKind(IntEnum):
    """First element of every message in a datagram. On the wire: only append."""

    PING = 1
    ACK = 2
    NACK = 3
    PING_REQ = 4
    CLAIM = 5


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? The envelope names its target."""

    seq: int
    incarnation: int
    """The sender's own: who holds an older one of it missed a claim."""

    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to the ping with this number; in a relayed one, the rest is the relay's own."""

    seq: int
    incarnation: int
    note: bytes = b""
    time_ms: int = 0
    """The sender's clock in unix milliseconds; 0 where it does not say."""


@dataclass(frozen=True, slots=True)
class Nack:
    """A relay's word that it has no ack yet: the prober's own links are sound (Lifeguard)."""

    seq: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """Ping this member for me, and relay its ack under this number."""

    seq: int
    target: str
    addresses: tuple[Address, ...]
    """Where the asker knows it to be; the relay's own knowledge goes first."""


Message = Ping | Ack | Nack | PingReq | Claim


class PushPullKind(IntEnum):
    """First element of a push-pull body. On the wire: only append."""

    HASHES = 1
    CLAIMS = 2


@dataclass(frozen=True, slots=True)
class BucketHashes:
    """First half of a push-pull: a hash of each part of the sender's table."""

    hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BucketClaims:
    """What one side holds in the buckets that differ."""

    name: str
    """Who answers; a seed is known by this from now on."""

    bucket_count: int
    """Into how many buckets the asker had cut its table; 0 in the second request."""

    buckets: tuple[int, ...]
    """The buckets that differ."""

    claims: tuple[Claim, ...]
