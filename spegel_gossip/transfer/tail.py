"""Sends a blob that is still arriving here to a node that reads it as it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spegel_gossip.content import PartialStatus
from spegel_gossip.oci.digest import Digest

TAIL_HEADER = "Spegel-Gossip-Tail"
"""On a GET: a growing copy will do. Its value is `<bytes the asker has> <its stamp>`."""

BEHIND_HEADER = "Spegel-Gossip-Behind"
"""On a 503: it receives the blob too, and is not ahead of who asks."""

Place = Callable[[Digest], tuple[int, int]]
"""How many bytes of a blob have arrived at this node, and its stamp among those who receive it."""


@dataclass(frozen=True, slots=True)
class TailRequest:
    """What a child says of itself."""

    offset: int
    stamp: int

    def header(self) -> str:
        """Return the header's value."""
        return f"{self.offset} {self.stamp}"


def parse_tail_untrusted(value: str | None) -> TailRequest | None:
    """Read the header; None where there is none, or one that says nothing."""
    parts = (value or "").split(" ")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        return None
    return TailRequest(int(parts[0]), int(parts[1]))


def is_ahead(status: PartialStatus, stamp: int, child: TailRequest) -> bool:
    """Return whether a child may read from us: we have strictly more, or as much and stood here first.

    It is what the owner went by, looked at again by the one who knows: two nodes never
    read from each other.
    """
    return status.offset > child.offset or (status.offset == child.offset and stamp < child.stamp)
