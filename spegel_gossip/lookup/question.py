"""One question of this node's to an owner, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from spegel_gossip.directory.fetch_messages import FetchTold, Verdict
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Holders, Peer
from spegel_gossip.swarm.patience import stall_patience

RESEND_INTERVAL: Final = 0.15
"""Seconds after which a question that had no answer at all is sent again."""

REPEAT_INTERVAL: Final = 0.5
"""Seconds between two repetitions of a question that waits."""

MAX_UNHEARD: Final = 4
"""Times in a row that a question may go out in vain: then the next owner is asked to decide.

After 0.6 s, or where the owner had us wait, after 2. Longer than an owner's worst turn of the loop: a
second lease costs the registry the blob again, and this wait is paid once, because a silent owner is passed
over for a while. Counted, not timed: after a turn that took as long here, an answer may lie unread.
"""


@dataclass(slots=True)
class Question:
    """One that is open with an owner."""

    owner: str
    key: PackedKey
    gives_way: bool = False
    """Whether being told to wait is an answer to it."""

    unheard: int = 0
    """How often it went out since its owner's last word."""

    told: FetchTold | None = None
    is_held: bool = False
    """The owner has said to wait."""

    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def verdict(self) -> int:
        """What the owner said; WAIT while it said nothing."""
        return Verdict.WAIT if self.told is None else self.told.verdict

    @property
    def repeat_interval(self) -> float:
        """Seconds until it is sent once more, while it is open."""
        return RESEND_INTERVAL if self.told is None else REPEAT_INTERVAL

    @property
    def is_open(self) -> bool:
        """Whether the answer is still to come."""
        return self.verdict == Verdict.WAIT and not (self.gives_way and self.told is not None)


def found_of(digest: Digest, told: FetchTold, peers: Sequence[Peer]) -> Holders:
    """Return what an owner named, as whoever asked wants it."""
    patience = stall_patience(told.depth) if told.verdict == Verdict.ATTACH else None
    return Holders(digest, tuple(peers), told.size, patience=patience, stamp=told.stamp)


def name_of_verdict(told: FetchTold | None) -> str:
    """Return an owner's verdict as a metric's label."""
    if told is None:
        return "silent"
    return Verdict(told.verdict).name.lower() if told.verdict in set(Verdict) else "unknown"
