"""A log line that hostile traffic cannot turn into a flood."""

from __future__ import annotations

import structlog
import trio

log = structlog.get_logger(__name__)

QUIET_INTERVAL = 60.0
"""Seconds between two lines; what happens in between is counted only."""


class QuietLog:
    """Logs one event at most once a minute, with the number left out since."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._silent_until_at = 0.0
        self._left_out = 0

    def __call__(self, **facts: object) -> None:
        """Log at debug, or count what was not logged."""
        if self._may_speak():
            log.debug(self._event, left_out=self._left_out, **facts)
            self._left_out = 0

    def failed(self, bug: Exception, **facts: object) -> None:
        """Log a bug of ours at error, with its traceback, or count it."""
        if self._may_speak():
            log.error(self._event, left_out=self._left_out, exc_info=bug, **facts)
            self._left_out = 0

    def _may_speak(self) -> bool:
        now = trio.current_time()
        if now < self._silent_until_at:
            self._left_out += 1
            return False
        self._silent_until_at = now + QUIET_INTERVAL
        return True
