"""From whom a receiver reads: the shallowest source with a slot to spare.

A source is a holder of the whole blob, or a receiver that is ahead: strictly more bytes, or
as many and an earlier stamp. Bytes must reach it by a way that does not lead through whoever
asks; so there is no circle, whatever is said in which order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spegel_gossip.directory.spread import Receiver, Spread

HOP_TIME: Final = 0.05
"""Seconds that each node in a chain adds: a step of 1 MiB, and the look whether there is one."""

ASSUMED_UPLINK: Final = 125_000_000
"""Bytes a second that a node is taken to be able to send: 1 Gbit/s."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory knows of a blob, as far as it matters here."""

    holders: tuple[str, ...] = ()
    """Live members who have it all, never the asker."""
    size: int = 0
    is_young: bool = False
    """Whether holders may exist that have not told this owner."""
    is_first: bool = True
    """Whether this is the blob's first live owner."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that might be read from."""

    name: str
    depth: int
    """Nodes between upstream and it, itself with them; 0 where it has it all."""
    load: int
    is_near: bool


def children_allowed(receivers: int, size: int) -> int:
    """Return how many nodes may read one blob from one node.

    A chain uses every uplink once and is the fastest while its length costs less than the
    blob; a tree of two is next, and every further child costs the others their bandwidth.
    """
    return 1 if (receivers - 1) * HOP_TIME < size / ASSUMED_UPLINK else 2


def choose_source(
    spread: Spread, receiver: Receiver, known: Known, size: int, zones: Mapping[str, str], now: float
) -> Candidate | None:
    """Return whom a node is to read from, None where nobody has a slot to spare or is ahead of it."""
    allowed = children_allowed(len(spread.receivers), size)
    zone = zones.get(receiver.name)
    candidates = [
        Candidate(name, 0, spread.load(name), zones.get(name) == zone)
        for name in known.holders
        if receiver.failed.get(name, 0.0) <= now
    ]
    if receiver.total:
        candidates += [
            Candidate(one.name, max(one.depth, 1), spread.load(one.name), zones.get(one.name) == zone)
            for one in spread.receivers.values()
            if _is_ahead(one, receiver)
            and one.name not in known.holders
            and receiver.failed.get(one.name, 0.0) <= now
        ]
    free = [one for one in candidates if one.load < allowed]
    if not free and (receiver.is_urgent or known.holders):
        free = candidates
    free.sort(key=lambda one: (not one.is_near, one.load >= allowed, one.depth, one.load, one.name))
    return next(
        (
            one
            for one in free
            if spread.gets_bytes(one.name, without=receiver.name, holders=known.holders, now=now)
        ),
        None,
    )


def _is_ahead(one: Receiver, receiver: Receiver) -> bool:
    if one is receiver:
        return False
    is_level = one.offset == receiver.offset and one.stamp < receiver.stamp
    return one.is_done or one.offset > receiver.offset or is_level
