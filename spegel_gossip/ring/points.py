"""Where a member's virtual nodes stand, and one number for a whole member set.

Both are functions of names and zones alone, so that all members who agree on the
membership agree on the ring without a word about it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

TOKEN_BITS = 64
TOKEN_SPACE = 1 << TOKEN_BITS
"""Tokens are 0 .. TOKEN_SPACE - 1."""

VIRTUAL_NODES = 128
"""Virtual nodes a member: the shares of 1,000 members then have a cv of 9 %."""

LARGE_CLUSTER = 2_000
"""Above this many members, half the virtual nodes keep a change under 20 ms."""

VIRTUAL_NODES_LARGE = 64

_POINTS = struct.Struct(">8Q")
_POINTS_PER_HASH = 8


def virtual_nodes(members: int) -> int:
    """Return how many virtual nodes each of `members` members has."""
    return VIRTUAL_NODES if members <= LARGE_CLUSTER else VIRTUAL_NODES_LARGE


def points_of(name: str, count: int) -> list[int]:
    """Return the first `count` tokens of a member, a multiple of eight.

    One 64-byte blake2b gives eight of them: 16 hashes a member, not 128.
    """
    points: list[int] = []
    for index in range(count // _POINTS_PER_HASH):
        points.extend(_POINTS.unpack(hashlib.blake2b(f"{name}#{index}".encode()).digest()))
    return points


def epoch_of(zones: Mapping[str, str]) -> int:
    """Return the 64-bit hash of the sorted (name, zone) pairs.

    Equal epochs mean equal rings, and so equal owners of every key.
    """
    hasher = hashlib.blake2b(digest_size=8)
    for name in sorted(zones):
        for text in (name, zones[name]):
            data = text.encode()
            hasher.update(len(data).to_bytes(4, "big"))
            hasher.update(data)
    return int.from_bytes(hasher.digest(), "big")
