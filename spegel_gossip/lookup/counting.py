"""When to count what happened: a while after it, and not each time."""

from __future__ import annotations

import math
from typing import Final

import trio

COUNT_INTERVAL: Final = 1.0
"""Seconds after which what happened is counted: a dozen gauges cost a third of what a lookup costs."""


class CountLater:
    """A moment to count at; none until something happens."""

    def __init__(self) -> None:
        """Have nothing to count."""
        self.at = math.inf

    def soon(self) -> None:
        """Count within the interval, with all that happens until then."""
        if self.at == math.inf:
            self.at = trio.current_time() + COUNT_INTERVAL

    def is_due(self) -> bool:
        """Return whether to count now; if not, it will be within the interval."""
        if self.at > trio.current_time():
            self.soon()
            return False
        self.at = math.inf
        return True
