"""Whom to probe next, and whom to tell."""

from __future__ import annotations

import random
from collections.abc import Callable

MIN_LENGTH_TO_TIDY = 64
"""Names that are kept before those of former candidates are looked for."""


class MemberOrder:
    """Round robin over the members in a random order, reshuffled each round.

    Newcomers enter at a random place. Round robin bounds the time until a failed
    member is probed to two rounds; picking independently at random has no bound
    (SWIM section 4.3).
    """

    def __init__(self, is_candidate: Callable[[str], bool], *, rng: random.Random) -> None:
        self._is_candidate = is_candidate
        self._rng = rng
        self._names: list[str] = []
        self._known: dict[str, None] = {}
        self._next = 0
        self._tidy_at = MIN_LENGTH_TO_TIDY

    def __len__(self) -> int:
        return len(self._names)

    def insert(self, name: str) -> None:
        """Add a member at a random place; one that is there already stays where it is."""
        if name in self._known:
            return
        if len(self._names) >= self._tidy_at:
            self._tidy()
        self._known[name] = None
        at = self._rng.randint(0, len(self._names))
        self._names.insert(at, name)
        if at < self._next:
            # Nobody else may be skipped or come twice in this round because of it.
            self._next += 1

    def next_member(self) -> str | None:
        """Return whose turn it is; None when there is nobody."""
        for _ in range(2):
            while self._next < len(self._names):
                name = self._names[self._next]
                self._next += 1
                if self._is_candidate(name):
                    return name
            self._tidy()
            self._rng.shuffle(self._names)
            self._next = 0
        return None

    def _tidy(self) -> None:
        """Forget former candidates, so that the list never grows beyond twice the candidates."""
        had_turn = [name for name in self._names[: self._next] if self._is_candidate(name)]
        to_come = [name for name in self._names[self._next :] if self._is_candidate(name)]
        self._names, self._next = had_turn + to_come, len(had_turn)
        self._known = dict.fromkeys(self._names)
        self._tidy_at = max(MIN_LENGTH_TO_TIDY, 2 * len(self._names))
