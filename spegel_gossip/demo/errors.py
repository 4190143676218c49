"""What can go wrong with a demo: one thing, said so that somebody can look further."""

from __future__ import annotations

from pathlib import Path

from spegel_gossip.errors import SpegelGossipError


class DemoError(SpegelGossipError):
    """The demo cannot be given on this machine; the message says what to change."""


class ClaimError(DemoError):
    """A claim of the story did not hold."""

    def __init__(self, step: str, expected: str, seen: str, logs: Path) -> None:
        """Take what was being told, what should have been, what was, and where to look."""
        super().__init__(f"{step}: expected {expected}; seen: {seen}; the logs are in {logs}")
        self.step = step
        self.expected = expected
        self.seen = seen
        self.logs = logs


def first_of(group: BaseExceptionGroup) -> BaseException:
    """Return the first exception of a group that is none itself."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
