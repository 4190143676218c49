"""The pulling port: having this node's own store pull an image, as anybody on the node would."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.reference import Reference


class PullProblem(IntEnum):
    """Why an image is not here. On the wire: only append."""

    NONE = 0
    FAILED = 1
    """Anything that has no word of its own; the text says what."""

    UNKNOWN_IMAGE = 2
    UNAUTHORISED = 3
    """The registry wants credentials that the node's own configuration does not have."""

    UNSUPPORTED = 4
    """The node's store, or its release, cannot be asked to pull."""

    UNAVAILABLE = 5
    """The store is down."""

    FILTERED = 6
    """A filter keeps the image out of the mirror: every node would fetch it itself."""

    BUSY = 7
    """Too much waits there already."""

    UNREACHABLE = 8
    """The node does not answer."""

    STOPPED = 9
    """Whoever asked for it is gone."""

    TIMED_OUT = 10


class PullFailedError(SpegelGossipError):
    """The store did not pull the image."""

    def __init__(self, problem: PullProblem, detail: str) -> None:
        """Keep which kind of problem it is, and what to tell the operator."""
        self.problem = problem
        self.detail = detail
        super().__init__(detail)


class ImagePuller(Protocol):
    """Pulls through this node's mirror, with the credentials that the store itself has."""

    async def pull(self, image: Reference) -> None:
        """Return once the whole image is here; what is here already is not fetched again.

        Raises:
            PullFailedError: it is not here, and why.
        """
