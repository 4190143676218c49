"""The fetching port: bytes of a blob from wherever, as something the kernel can copy from."""

from __future__ import annotations

from typing import Protocol

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.digest import Digest


class SlotYieldedError(SpegelGossipError):
    """The bytes will come, and another request of the same client needs the slot more.

    Tell the client that there is an answer, and end it before its first byte: it asks again.
    """

    def __init__(self, digest: Digest, size: int) -> None:
        """Keep the blob, and how long it is."""
        self.digest = digest
        self.size = size
        super().__init__(f"{digest} is on its way; its slot is given back")


class Segment(Protocol):
    """A run of a blob's bytes that one source has begun to send."""

    @property
    def source(self) -> str:
        """The member who sends it."""

    @property
    def head(self) -> bytes:
        """Bytes that came along with the response head; they precede those of the socket."""

    @property
    def length(self) -> int:
        """Bytes promised, `head` included."""

    @property
    def stall_timeout(self) -> float:
        """Seconds without a byte after which this source is given up."""

    def fileno(self) -> int:
        """The non-blocking socket to read the rest from."""

    def keeps_pace(self, *, waited: float, moved: int) -> bool:
        """Say whether to go on reading from this source; False means to ask for the next segment.

        Whoever reads calls it from time to time.

        Args:
            waited: seconds for which the source, and not the client, was waited for since the last call
            moved: bytes that were read since the last call
        """


class BlobStream(Protocol):
    """The bytes `[start, stop)` of one blob, from one source after another."""

    @property
    def digest(self) -> Digest:
        """The blob."""

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""

    @property
    def start(self) -> int:
        """The first byte's offset."""

    @property
    def stop(self) -> int:
        """The offset after the last byte."""

    @property
    def source(self) -> str:
        """The member who serves now (or served last)."""

    async def next_segment(self, offset: int) -> Segment:
        """Return who sends the bytes from `offset` on, switching source if there was one.

        The first call returns the source that was found when the stream was opened.
        A later call means that the previous source stopped short at `offset`.

        Raises:
            AllHoldersFailedError: no source is left; end the answer short.
        """

    async def aclose(self, *, delivered: int) -> None:
        """End it; a source that sent everything goes back to the pool.

        Safe to call twice; the first call counts.

        Args:
            delivered: bytes handed on in all, so that a clean end is told from a cut
        """


class BlobFetcher(Protocol):
    """Gets blobs from other nodes."""

    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None, is_range: bool = False
    ) -> BlobStream:
        """Find a source and begin; returns when its response head is in.

        Args:
            digest: the blob
            start: offset of the first byte wanted
            stop: offset after the last byte wanted; None for the end
            is_range: whether the client asked for a range, which may be one of several and closed early

        Raises:
            RoutingError: nobody has it, nobody could be asked, or every holder failed.
            InvalidRangeError: the blob is shorter than `start`.
            SlotYieldedError: the client is to ask again.
        """

    async def spreads(self, digest: Digest) -> bool:
        """Return whether content is got through the swarm: this node is in one, and ingests it now."""

    async def size(self, digest: Digest) -> int:
        """Return the size of a blob that another node has (HEAD).

        Raises:
            RoutingError: as for `open`.
        """

    async def fetch_manifest(self, digest: Digest, *, may_lease: bool = True) -> bytes:
        """Return a manifest from another node, verified against its digest.

        Args:
            digest: of the manifest
            may_lease: whether the client itself fetches it from upstream if this fails (a GET by digest);
                a HEAD or a tag never makes this node the one that fetches

        Raises:
            RoutingError: as for `open`; a holder that sends other bytes has failed.
        """
