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
from spegel_gossip.swim.names import name_hash

HOP_TIME: Final = 0.05
"""Seconds that each node in a chain adds: a step of 1 MiB, and the look whether there is one."""

ASSUMED_UPLINK: Final = 125_000_000
"""Bytes a second that a node is taken to be able to send until it was seen to do its best: 1 Gbit/s."""

SPARE_INTERVAL: Final = 1.0
"""Seconds for which a node's uplink is unused before it gets one more child."""

MAX_CHILDREN: Final = 4
"""Nodes that read one blob from one node, however idle its uplink is."""


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
    is_former: bool = False
    """Whether it was a minute ago, and another is now."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that might be read from."""

    name: str
    depth: int
    """Nodes between upstream and it, itself with them; 0 where it has it all."""
    load: int
    served: int
    """How many were told to read from it so far, those that are done with it too."""
    is_near: bool
    is_free: bool
    is_doubted: bool
    """Whether it lost the lease that it gets its bytes by."""
    rank: int


def children_allowed(
    spread: Spread, name: str, size: int, uplinks: Mapping[str, int], *, together: int, members: int
) -> int:
    """Return how many nodes may read one blob from a node.

    A chain uses every uplink once and is the fastest while its length costs less than the
    bytes; a tree of two is next, and every further child costs the others their bandwidth,
    unless the uplink was seen to be unused. The layers of an image share the uplinks and are on their
    way at the same time, so where a chain through the whole cluster costs less than the image, all of
    them go by chains: one node after the other for this layer, in another order for the next.

    Args:
        spread: of the blob
        name: of the node that would be read from
        size: of the blob, in bytes
        uplinks: bytes a second that nodes were seen to send when they sent all they could
        together: bytes of the image that are on their way with it; 0 if unknown
        members: live ones, the longest that a chain can be
    """
    uplink = uplinks.get(name, ASSUMED_UPLINK)
    hops, most_hops = len(spread.receivers) - 1, members - 1
    is_chain = hops * HOP_TIME < size / uplink or most_hops * HOP_TIME < together / uplink
    receiver = spread.receivers.get(name)
    return min((1 if is_chain else 2) + (0 if receiver is None else receiver.extra), MAX_CHILDREN)


def allow_for_uplink(
    spread: Spread,
    receiver: Receiver,
    zones: Mapping[str, str],
    uplinks: Mapping[str, int],
    *,
    has_spare: bool,
    now: float,
) -> None:
    """Give a node one more child for each second in which its uplink bore those it has with ease."""
    # What it lacked itself nobody knows of who fetched the manifest from upstream, nor of older releases.
    allowed = children_allowed(
        spread, receiver.name, receiver.total, uplinks, together=spread.together, members=len(zones)
    )
    unused = allowed - spread.load(receiver.name)
    if not has_spare:
        receiver.spare_since, receiver.extra = None, max(0, receiver.extra - max(unused, 0))
    elif unused > 0 or receiver.spare_since is None:
        receiver.spare_since = now
    elif now >= receiver.spare_since + SPARE_INTERVAL and allowed < MAX_CHILDREN:
        receiver.spare_since, receiver.extra = now, receiver.extra + 1


def choose_source(
    spread: Spread,
    receiver: Receiver,
    known: Known,
    size: int,
    zones: Mapping[str, str],
    uplinks: Mapping[str, int],
    now: float,
) -> Candidate | None:
    """Return whom a node is to read from, None where nobody has a slot to spare or is ahead of it."""
    zone = zones.get(receiver.name)
    lost = {name for name, until in receiver.failed.items() if until > now}

    def candidate(name: str, depth: int, *, is_doubted: bool = False) -> Candidate:
        # The slot of whom the asker lost is its own to take: in a chain it would wait until all forgot it.
        load = sum(child not in lost for child in spread.children.get(name, ()))
        is_busy = bool(receiver.busy) and receiver.busy.get(name_hash(name), 0.0) > now
        allowed = children_allowed(
            spread, name, size, uplinks, together=receiver.together, members=len(zones)
        )
        is_free = not is_busy and load < allowed
        served, rank = spread.served.get(name, 0), spread.rank_of(name)
        return Candidate(name, depth, load, served, zones.get(name) == zone, is_free, is_doubted, rank)

    candidates = [candidate(name, 0) for name in known.holders if name not in lost]
    is_fresh = not receiver.offset and not spread.load(receiver.name)
    if receiver.total:
        candidates += [
            candidate(one.name, max(one.depth, 1), is_doubted=one.has_lost)
            for one in spread.receivers.values()
            if _is_ahead(one, receiver, is_fresh=is_fresh)
            and one.name not in known.holders
            and one.name not in lost
        ]
    if not (receiver.is_urgent or known.holders):
        candidates = [one for one in candidates if one.is_free]
    candidates.sort(key=_preference)
    return next(
        (
            one
            for one in candidates
            if spread.gets_bytes(one.name, without=receiver.name, holders=known.holders, now=now)
        ),
        None,
    )


def _preference(one: Candidate) -> tuple[bool, bool, bool, int, int, int, int, str]:
    # A line that was throttled makes a step now and then, and is next to upstream after each of them.
    # Those who ask one after the other find several that have it and send nothing: each has its turn.
    return (
        one.is_doubted,
        not one.is_free,
        not one.is_near,
        one.depth,
        one.load,
        one.served,
        one.rank,
        one.name,
    )


def _is_ahead(one: Receiver, receiver: Receiver, *, is_fresh: bool) -> bool:
    """Return whether a node has bytes to give to another, or will have them first.

    Of two that have as many, the one that was told its source first. A fresh node, which has
    nothing and from which nobody reads, comes after all others, however long it waited.
    """
    if one is receiver or (one.is_blind and not one.is_done):
        return False
    is_level = one.offset == receiver.offset and (is_fresh or one.stamp < receiver.stamp)
    return one.is_done or one.offset > receiver.offset or is_level
