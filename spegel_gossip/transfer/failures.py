"""Why one holder was given up: what the router, the metrics and the caller are told of it."""

from __future__ import annotations

from enum import Enum

from spegel_gossip.errors import SpegelGossipError


class Reason(Enum):
    """Why a holder was given up; a metric's label, so a closed set."""

    MISS = "miss"
    """It answered 404 for what a record promised: the owners hear of it."""

    BUSY = "busy"
    """It serves as many as it can."""

    UNAVAILABLE = "unavailable"
    """It is there, and cannot read its store."""

    UNREACHABLE = "unreachable"
    """No connection, or no answer in time: it is skipped for a while here."""

    REFUSED = "refused"
    """It does not accept us: another key, or another member lives there now."""

    WRONG_ANSWER = "wrong_answer"
    """A length, a range, a status or bytes that cannot be right."""

    STALLED = "stalled"
    """No byte for the stall timeout, with the connection open."""

    SLOW = "slow"
    """Bytes came, far fewer than is usual."""

    BANNED = "banned"
    """It was not asked: bytes of this blob that it sent, or helped to send, were wrong."""

    EMPTY = "empty"
    """It ended before its first byte, as whoever receives it does whose own request for it ended."""

    ENDED = "ended"
    """The connection ended before the last byte."""


class HolderFailedError(SpegelGossipError):
    """One holder did not give what was asked of it; ask the next."""

    def __init__(self, reason: Reason, detail: str, others: tuple[str, ...] = ()) -> None:
        """Keep the reason, what happened in words, and whom it named instead of itself."""
        self.reason = reason
        self.others = others
        super().__init__(detail)
