"""What can go wrong on the two sides of a transfer; told apart because only one is ours to mend."""

from __future__ import annotations

from spegel_gossip.errors import SpegelGossipError


class TransferError(SpegelGossipError):
    """A body cannot go on."""


class ClientGoneError(TransferError):
    """The reading side closed: stop, nobody is listening."""


class ClientStalledError(TransferError):
    """The reading side took nothing for too long: close it, it holds a source and a slot."""


class SourceFailedError(TransferError):
    """The bytes ran out before the promised length: end the answer short, never cleanly."""


class ServerSeamError(SpegelGossipError):
    """The installed Hypercorn or h11 is not the one the extension was written for.

    Raised at start-up. Install the versions that pyproject.toml pins.
    """
