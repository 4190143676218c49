"""What a datagram is about."""

from __future__ import annotations

from enum import IntEnum


class DatagramKind(IntEnum):
    """The part of the program a datagram is for. On the wire: only append."""

    GOSSIP = 1
    DIRECTORY = 2
