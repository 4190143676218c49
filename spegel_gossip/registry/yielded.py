"""A body that ends before its first byte, so that containerd asks again and gives the slot to another."""

from __future__ import annotations

import trio

from spegel_gossip.fetching import Segment
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.range import ByteRange
from spegel_gossip.routing import AllHoldersFailedError


class YieldedStream:
    """A `fetching.BlobStream` without a source."""

    def __init__(self, digest: Digest, size: int, part: ByteRange | None) -> None:
        """Promise the blob, or a part of it."""
        self.digest = digest
        self.size = size
        self.start = 0 if part is None else part.start
        self.stop = size if part is None else part.start + part.length
        self.source = ""

    async def next_segment(self, offset: int) -> Segment:
        """Give nothing.

        Raises:
            AllHoldersFailedError: always.
        """
        await trio.lowlevel.checkpoint()
        raise AllHoldersFailedError(self.digest, [f"the slot was given back at {offset}"])

    async def aclose(self, *, delivered: int) -> None:  # noqa: ARG002 - the port's signature
        """End it."""
        await trio.lowlevel.cancel_shielded_checkpoint()
