"""Whom to probe next, and whom to tell."""

from __future__ import annotations

import random
from collections.abc import Callable


class MemberOrder:
    """Round robin over the members in a random order, reshuffled each round.

    Newcomers enter at a random place. Round robin bounds the time until a failed
    member is probed to two rounds; picking independently at random has no bound
    (SWIM section 4.3).
    """

    def __init__(self, *, rng: random.Random) -> None:
        self._rng = rng
        self._names: list[str] = []
        self._known: dict[str, None] = {}
        self._next = 0

    def insert(self, name: str) -> None:
        """Add a member at a random place; one that is there already stays where it is."""
        if name in self._known:
            return
        self._known[name] = None
        at = self._rng.randint(0, len(self._names))
        self._names.insert(at, name)
        if at < self._next:
            # Nobody else may be skipped or probed twice in this round because of it.
            self._next += 1

    def next_member(self, is_candidate: Callable[[str], bool]) -> str | None:
        """Return whose turn it is; None when there is nobody.

        Those who are no candidates any more are forgotten on the way.
        """
        for _ in range(2):
            while self._next < len(self._names):
                name = self._names[self._next]
                self._next += 1
                if is_candidate(name):
                    return name
            self._names = [name for name in self._names if is_candidate(name)]
            self._known = dict.fromkeys(self._names)
            self._rng.shuffle(self._names)
            self._next = 0
        return None
