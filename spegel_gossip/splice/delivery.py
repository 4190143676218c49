"""How a body went out: how much, and what ended it.

Most short deliveries are nobody's error (a client that closes early is normal, see
containerd's ranged reads), so the ending is a value; who asked decides whether it
deserves a log line, another source, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """Why no more bytes go out; the values are fit for a metric's label."""

    COMPLETE = "complete"
    """Everything that was asked for was handed to the client's socket."""

    CLIENT_GONE = "client_gone"
    """The client closed or reset its side: stop, nothing is wrong here."""

    CLIENT_STALLED = "client_stalled"
    """The client took nothing for the whole progress timeout."""

    SOURCE_FAILED = "source_failed"
    """The source ended short, failed or stalled, and there is no other."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one body."""

    moved: int
    """Bytes handed to the client's socket."""

    ending: Ending
    detail: str = ""
    """What the source said, for the log; empty if there is nothing to add."""

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for went out."""
        return self.ending is Ending.COMPLETE
