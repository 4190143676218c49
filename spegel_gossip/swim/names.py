"""Members' names as integers: what stands for a name where 64 bits must do."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

MAX_NAME_BYTES: Final = 253
"""Longest member name: a DNS name."""

NAME_HASH_BYTES = 8
CACHED_HASHES = 8192


@lru_cache(maxsize=CACHED_HASHES)
def name_hash(name: str) -> int:
    """Return the 64-bit hash of a member's or a cluster's name; never 0.

    On the wire 0 means "whoever listens here", so a name that hashed to it would
    be nobody's.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=NAME_HASH_BYTES).digest()
    return int.from_bytes(digest, "big") or 1
