"""Other processes that live under our name, for as long as they are heard of."""

from __future__ import annotations

from typing import Final

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.introspection import NameConflict

MAX_CONFLICTS: Final = 16
"""Other processes under our own name that are remembered."""

CONFLICT_AGE: Final = 900.0
"""Seconds after which one that is not heard of is forgotten. Push-pulls bring it up again while it
lives; in a cluster of 5,000 there are three of ours in that time."""


class Conflicts:
    """By address: one that restarts is the same process with another boot."""

    def __init__(self) -> None:
        self._heard: dict[Address, tuple[int, float]] = {}

    def shown(self) -> tuple[NameConflict, ...]:
        """Return those that are remembered."""
        return tuple(NameConflict(address, boot) for address, (boot, _) in self._heard.items())

    def hear(self, conflict: NameConflict, now: float) -> bool:
        """Remember one, if there is room for it; return whether it is news.

        Another boot of it is none: a forger could have a warning logged for each.
        """
        is_known = conflict.address in self._heard
        if not is_known and len(self._heard) >= MAX_CONFLICTS:
            return False
        self._heard[conflict.address] = (conflict.boot, now)
        return not is_known

    def ended(self, address: Address) -> None:
        """Forget one that is dead or has left."""
        self._heard.pop(address, None)

    def next_timer_at(self) -> float | None:
        """Return when the next is to be forgotten."""
        return min((heard_at + CONFLICT_AGE for _, heard_at in self._heard.values()), default=None)

    def handle_timer(self, now: float) -> None:
        """Forget those that were not heard of for long."""
        self._heard = {
            address: (boot, heard_at)
            for address, (boot, heard_at) in self._heard.items()
            if heard_at + CONFLICT_AGE > now
        }
