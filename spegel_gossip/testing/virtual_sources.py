"""From whom a node of a `virtual_swarm` could have read, as only an onlooker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spegel_gossip.directory.spread import SILENCE_TIMEOUT
from spegel_gossip.testing.virtual_node import REGISTRY, Fetch, VirtualNode

if TYPE_CHECKING:
    from spegel_gossip.testing.virtual_swarm import VirtualSwarm

GROWING_INTERVAL: Final = 2.0
"""Seconds since its last step for which a copy counts as growing, where it is asked who had something."""

ANSWER_DELAY: Final = 0.001
"""Seconds since an owner decided, when what it decided is looked at."""


def has_source(swarm: VirtualSwarm, asker: VirtualNode, asked: Fetch) -> bool:
    """Return whether a node could be read from that did not fail the asker yet.

    An owner that has heard nothing of a growing copy of late need not know of it: one of the two was cut off.
    """
    blob = asked.blob
    for node in swarm.nodes.values():
        fetch = node.fetches.get(blob)
        if (
            node is asker
            or fetch is None
            or swarm.is_cut(asker.name, node.name)
            or node.name in asked.failed
            or any(one.source == node.name and one.at >= fetch.arrived_at for one in asked.stalled)
        ):
            continue
        told_at = swarm.reported_at.get((asked.decider, node.name, swarm.keys[blob]), float("-inf"))
        is_known = ANSWER_DELAY < swarm.now - told_at < SILENCE_TIMEOUT and not node.is_blind
        is_ahead = fetch.offset > asked.offset and is_known
        if fetch.is_done or (is_ahead and _is_fed(swarm, node.name, blob)):
            return True
    return False


def _is_fed(swarm: VirtualSwarm, name: str, blob: int) -> bool:
    """Return whether bytes of a blob reach a node: from the registry, or in the end from a whole copy."""
    for _ in swarm.nodes:
        fetch = swarm.nodes[name].fetches[blob]
        if fetch.is_done or fetch.source == REGISTRY:
            return fetch.is_done or fetch.arrived_at + GROWING_INTERVAL > swarm.now
        if not fetch.source or swarm.is_cut(name, fetch.source):
            return False
        name = fetch.source
    return False
