"""What can go wrong between two peers, by what the caller should do next."""

from __future__ import annotations

from spegel_gossip.errors import DecodeError, SpegelGossipError


class WireError(SpegelGossipError):
    """A conversation with a peer failed; ask another one.

    `peer` is its name, or its address where the name is not known.
    """

    def __init__(self, peer: str, reason: str) -> None:
        self.peer = peer
        self.reason = reason
        super().__init__(f"{peer}: {reason}")


class PeerUnreachableError(WireError):
    """No connection, or no answer in time: skip this peer for a while."""


class PeerRefusedError(WireError):
    """It answered 401 or 403: another key, another cluster, or another member lives there now."""

    def __init__(self, peer: str, reason: str, *, status: int) -> None:
        self.status = status
        super().__init__(peer, reason)


class PeerProtocolError(WireError):
    """It answered, but nonsense."""


class EnvelopeError(DecodeError):
    """A datagram that is not for us; `reason` is one of a fixed few, for the metrics."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"datagram dropped: {reason}")
