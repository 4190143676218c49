"""Lifeguard's local health: how far this member distrusts its own judgement."""

from __future__ import annotations


class LocalHealth:
    """A score that saturates between 0 (well) and its maximum.

    Failed probes, missed nacks and refutations raise it, successful probes lower
    it. While it is above 0 this member probes more slowly, so that a sick member
    accuses fewer healthy ones (Lifeguard, LHA-Probe).
    """

    def __init__(self, *, max_multiplier: int) -> None:
        self._max_score = max_multiplier - 1
        self._score = 0

    @property
    def score(self) -> int:
        """The present score; 0 is well."""
        return self._score

    @property
    def multiplier(self) -> int:
        """The factor by which a probe round is stretched: 1 + score."""
        return 1 + self._score

    def change(self, delta: int) -> None:
        """Add `delta` to the score, within its bounds."""
        self._score = min(self._max_score, max(0, self._score + delta))
