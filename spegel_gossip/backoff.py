"""How long to wait after failures in a row."""

from __future__ import annotations

from typing import Final

_MAX_DOUBLINGS: Final = 16
"""Far beyond every longest wait; who is away for days fails more often than a float can be doubled."""


def backoff(failures: int, *, first: float, longest: float) -> float:
    """Return `first`, doubled for each failure, and `longest` at most; all in seconds.

    Args:
        failures: in a row, from 0 to as many as there may be
        first: the wait after none
        longest: what it never exceeds
    """
    return min(longest, first * 2.0 ** min(failures, _MAX_DOUBLINGS))
