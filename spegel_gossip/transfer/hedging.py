"""When a second holder is asked because the first takes unusually long to begin.

The wait is the 95th percentile of what was seen, so one request in twenty is hedged in
quiet times; where holders are slow because all are busy, the allowance keeps the
additional load at that same twentieth.
"""

from __future__ import annotations

from collections import deque
from typing import Final

ALLOWANCE: Final = 0.05
"""Additional requests for each request."""

MAX_ALLOWANCE: Final = 10.0
"""Hedges saved up at most: a burst after a quiet hour must stay small too."""

REMEMBERED: Final = 200
MIN_SAMPLES: Final = 20
FRACTION: Final = 0.95

MIN_DELAY: Final = 0.02
"""Seconds waited at least: among answers of 2 ms, one of 4 ms is not worth a request."""


class Hedges:
    """What first bytes took, and how many more hedges may be spent."""

    def __init__(self) -> None:
        """Know nothing and have saved nothing."""
        self._seen: deque[float] = deque(maxlen=REMEMBERED)
        self._allowance = 0.0

    def asked(self) -> None:
        """Count a request."""
        self._allowance = min(self._allowance + ALLOWANCE, MAX_ALLOWANCE)

    def answered(self, seconds: float) -> None:
        """Remember how long a holder took to begin."""
        self._seen.append(seconds)

    @property
    def delay(self) -> float | None:
        """Seconds after which a second holder may be asked; None for not at all."""
        if self._allowance < 1 or len(self._seen) < MIN_SAMPLES:
            return None
        ordered = sorted(self._seen)
        return max(MIN_DELAY, ordered[int(FRACTION * (len(ordered) - 1))])

    def spend(self) -> None:
        """Count a hedge."""
        self._allowance -= 1
