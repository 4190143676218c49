"""One question of this node's to an owner, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from spegel_gossip.directory.fetch_messages import FetchTold, Verdict
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Holders, Peer
from spegel_gossip.swarm.patience import stall_patience


@dataclass(slots=True)
class Question:
    """One that is open with an owner."""

    owner: str
    key: PackedKey
    heard_at: float = -math.inf
    told: FetchTold | None = None
    is_held: bool = False
    """The owner has said to wait."""

    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def verdict(self) -> int:
        """What the owner said; WAIT while it said nothing."""
        return Verdict.WAIT if self.told is None else self.told.verdict


def found_of(digest: Digest, told: FetchTold, peers: Sequence[Peer]) -> Holders:
    """Return what an owner named, as whoever asked wants it."""
    patience = stall_patience(told.depth) if told.verdict == Verdict.ATTACH else None
    return Holders(digest, tuple(peers), told.size, patience=patience, stamp=told.stamp)


def name_of_verdict(told: FetchTold | None) -> str:
    """Return an owner's verdict as a metric's label."""
    if told is None:
        return "silent"
    return Verdict(told.verdict).name.lower() if told.verdict in set(Verdict) else "unknown"
