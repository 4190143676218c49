"""One deadline for each of many names, and the earliest of them."""

from __future__ import annotations

import heapq


class Timers:
    """Deadlines by name. Setting one again moves it.

    A heap whose outdated entries are skipped when they surface: a thousand owners
    may be due within two seconds.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """Make `at` the deadline of `name`."""
        self._at[name] = at
        heapq.heappush(self._heap, (at, name))

    def set_earlier(self, name: str, at: float) -> None:
        """Make `at` the deadline of `name` unless it has an earlier one."""
        if self._at.get(name, at) >= at:
            self.set(name, at)

    def clear(self, name: str) -> None:
        """Forget the deadline of `name`, if it has one."""
        self._at.pop(name, None)

    def has(self, name: str) -> bool:
        """Return whether `name` has a deadline."""
        return name in self._at

    def next_at(self) -> float | None:
        """Return the earliest deadline."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[str]:
        """Return those whose deadline is not after `now`, earliest first, and forget it."""
        names: list[str] = []
        while True:
            at = self.next_at()
            if at is None or at > now:
                return names
            _, name = heapq.heappop(self._heap)
            del self._at[name]
            names.append(name)
