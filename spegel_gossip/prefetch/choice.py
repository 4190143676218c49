"""Which nodes are to have an image."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from spegel_gossip.errors import SpegelGossipError

ALL = "all"
ZONE = "zone"


class SelectionError(SpegelGossipError, ValueError):
    """No node can be meant by that."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live member."""

    name: str
    zone: str


def choose(
    candidates: Sequence[Candidate], selection: str, *, own_zone: str, rng: random.Random
) -> list[Candidate]:
    """Return the members meant by `all`, `zone` (this node's), or a number, which is spread over the zones.

    Raises:
        SelectionError: it is none of these, or nobody is meant.
    """
    if selection == ALL:
        return sorted(candidates, key=_by_name)
    if selection == ZONE:
        if not own_zone:
            raise SelectionError("this node has no zone (--zone): give --nodes all, or a number")
        return sorted((one for one in candidates if one.zone == own_zone), key=_by_name)
    if not (selection.isascii() and selection.isdigit()) or int(selection) < 1:
        raise SelectionError(f"--nodes {selection[:40]}: give all, zone, or a number of nodes from 1")
    zones: dict[str, list[Candidate]] = {}
    for one in sorted(candidates, key=_by_name):
        zones.setdefault(one.zone, []).append(one)
    for members in zones.values():
        rng.shuffle(members)
    # One of each zone, then the next of each: rank first, so that no zone is drawn from twice before all.
    ranked = [(rank, zone, one) for zone, members in zones.items() for rank, one in enumerate(members)]
    ranked.sort(key=lambda entry: entry[:2])
    return sorted((one for _, _, one in ranked[: int(selection)]), key=_by_name)


def _by_name(candidate: Candidate) -> str:
    return candidate.name
