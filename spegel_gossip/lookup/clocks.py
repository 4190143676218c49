"""What time it is by most of the members' clocks: a purge must mean one moment to all."""

from __future__ import annotations

from collections.abc import Collection
from statistics import median_high
from typing import Final

MAX_CLOCKS: Final = 16_384
"""Clocks that are remembered as off; as many as members. The one told of first goes first."""


class Clocks:
    """The members whose clocks membership found to be off from ours, and by how much."""

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}

    def differs(self, name: str, seconds: float) -> None:
        """Take in by how much a member's clock is ahead of ours."""
        self._ahead.pop(name, None)
        if round(seconds):
            self._ahead[name] = seconds
        if len(self._ahead) > MAX_CLOCKS:
            del self._ahead[next(iter(self._ahead))]

    def lead_ms(self, members: Collection[str]) -> int:
        """Return by how much our clock is ahead of the median of all, which no single one moves.

        Of two it is the later: what is purged a moment too late is asked of the registry
        once more, and what is purged too early is served on.

        Args:
            members: all that are live, this one among them
        """
        off = [seconds for name, seconds in self._ahead.items() if name in members]
        if 2 * len(off) < len(members):
            return 0  # as nearly always, without looking at thousands
        return -int(1000 * median_high(off + [0.0] * (len(members) - len(off))))
