"""Which keys can be asked for in one question: those with the same owners, as many as fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import PackedKey

MAX_BATCH_KEYS: Final = 16
"""Keys in a question: 16 digests fill 740 bytes, and an answer has room for six holders of each."""


def batches(directory: Directory, keys: Iterable[PackedKey]) -> list[tuple[PackedKey, ...]]:
    """Return the keys in groups, each for one question."""
    by_owners: dict[tuple[str, ...], list[PackedKey]] = {}
    for key in keys:
        by_owners.setdefault(tuple(sorted(directory.live_owners(key))), []).append(key)
    return [
        tuple(group[start : start + MAX_BATCH_KEYS])
        for group in by_owners.values()
        for start in range(0, len(group), MAX_BATCH_KEYS)
    ]
