"""Hashes of parts of a membership table, so that push-pull sends only what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.exchange_codec import MAX_BUCKETS
from spegel_gossip.swim.names import name_hash

MIN_BUCKETS = 16
MEMBERS_A_BUCKET = 8
"""Members that share a bucket in a table larger than the least number of buckets."""

CACHED_HASHES = 4096


def bucket_count(members: int) -> int:
    """Return how many buckets a table of that size is cut into: a power of two."""
    wanted = max(MIN_BUCKETS, members // MEMBERS_A_BUCKET)
    return min(MAX_BUCKETS, 1 << (wanted - 1).bit_length())


def bucket_of(name: str, count: int) -> int:
    """Return the bucket that a member falls into; `count` is a power of two."""
    return name_hash(name) & (count - 1)


def bucket_hashes(claims: Iterable[tuple[int, int]], count: int) -> tuple[int, ...]:
    """Return one hash for each bucket: the xor over its claims, given as hashes of name and claim."""
    hashes = [0] * count
    mask = count - 1
    for name, claim in claims:
        hashes[name & mask] ^= claim
    return tuple(hashes)


def hash_of_claim(claim: Claim) -> int:
    """Return a claim's hash: over name, incarnation, state and boot.

    The incarnation stands for the rest of the record, and fields that a later release
    appends do not make two releases differ for ever.
    """
    return _hash(claim.name, claim.incarnation, claim.state.value, claim.record.boot)


@lru_cache(maxsize=CACHED_HASHES)
def _hash(name: str, incarnation: int, state: int, boot: int) -> int:
    text = f"{incarnation} {state} {boot} {name}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
