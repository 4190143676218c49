"""A blob from one holder after another, within one response."""

from __future__ import annotations

import select
from dataclasses import dataclass, replace

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.routing import Peer, Router
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.opening import Opened, Wanted, open_blob
from spegel_gossip.transfer.sources import Sources
from spegel_gossip.wire.client import PeerClient


@dataclass(slots=True)
class PeerSegment:
    """What one holder has begun to send (`fetching.Segment`)."""

    peer: Peer
    opened: Opened
    stall_timeout: float
    begun_at: float

    @property
    def source(self) -> str:
        """The member who sends it."""
        return self.peer.name

    @property
    def head(self) -> bytes:
        """Bytes that came along with the response head."""
        return self.opened.response.head

    @property
    def length(self) -> int:
        """Bytes promised, `head` included."""
        return self.opened.stop - self.opened.start

    def fileno(self) -> int:
        """The socket to read the rest from."""
        return self.opened.response.socket.fileno()

    def failure(self) -> HolderFailedError:
        """Say why it gives no more: a socket with nothing in it is silent, any other has ended."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if poll.poll(0):
            return HolderFailedError(Reason.ENDED, "its connection ended in the middle")
        return HolderFailedError(Reason.STALLED, f"no byte for {self.stall_timeout:g} s")


class PeerBlobStream:
    """The bytes of one blob, from whichever holder works (`fetching.BlobStream`).

    Belongs to the one task that serves the request; begins with `begin`.
    """

    def __init__(
        self,
        sources: Sources,
        wanted: Wanted,
        *,
        router: Router,
        client: PeerClient,
        config: TransferConfig,
    ) -> None:
        """Take what to ask for; nobody is asked yet."""
        self._sources = sources
        self._wanted = wanted
        self._router = router
        self._client = client
        self._config = config
        self._segment: PeerSegment | None = None
        self._source = ""
        self._is_handed_out = False
        self._is_closed = False

    @property
    def digest(self) -> Digest:
        """The blob."""
        return self._wanted.digest

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""
        return self._wanted.size or 0

    @property
    def start(self) -> int:
        """The first byte's offset."""
        return self._wanted.start

    @property
    def stop(self) -> int:
        """The offset after the last byte."""
        return self.size if self._wanted.stop is None else self._wanted.stop

    @property
    def source(self) -> str:
        """The member who serves now, or served last."""
        return self._source

    async def begin(self) -> None:
        """Find the first source.

        Raises:
            RoutingError: nobody has it, nobody could be asked, or every holder failed.
            InvalidRangeError: the blob is shorter than the range's start.
        """
        opened = await self._open(self._wanted)
        self._wanted = replace(self._wanted, stop=opened.stop, size=opened.size)
        metrics.IN_FLIGHT.labels("received").inc()

    async def next_segment(self, offset: int) -> PeerSegment:
        """Return who sends the bytes from `offset` on, the next holder if there was one.

        Raises:
            AllHoldersFailedError: no source is left; end the answer short.
        """
        if self._segment is not None and not self._is_handed_out:
            self._is_handed_out = True
            return self._segment
        if (stopped := self._segment) is not None:
            self._segment = None
            self._sources.give_up(stopped.peer, stopped.failure())
            await stopped.opened.response.aclose(drained=False)
            self._report(stopped, offset)
        await self._open(replace(self._wanted, start=offset))
        self._is_handed_out = True
        assert self._segment is not None  # noqa: S101 # `_open` set it
        return self._segment

    async def aclose(self, *, delivered: int) -> None:
        """End it; a holder that sent everything keeps its connection."""
        if self._is_closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._is_closed = True
        if self._wanted.size is not None:
            metrics.IN_FLIGHT.labels("received").dec()
        if (segment := self._segment) is not None:
            offset = self.start + delivered
            self._segment = None
            self._report(segment, offset)
            await segment.opened.response.aclose(drained=offset == segment.opened.stop)

    async def _open(self, wanted: Wanted) -> Opened:
        while True:
            peer = await self._sources.next()
            try:
                opened = await open_blob(self._client, peer, wanted, patience=self._config.first_byte_timeout)
            except HolderFailedError as exc:
                self._sources.give_up(peer, exc)
                continue
            except InvalidRangeError as exc:
                if wanted.start >= max(self._sources.size, wanted.size or 0):
                    raise
                # The directory, or a first holder, knows the blob to be longer than this one's copy.
                self._sources.give_up(peer, HolderFailedError(Reason.WRONG_ANSWER, str(exc)))
                continue
            self._source = peer.name
            self._segment = PeerSegment(peer, opened, self._config.stall_timeout, trio.current_time())
            return opened

    def _report(self, segment: PeerSegment, offset: int) -> None:
        moved = max(0, offset - segment.opened.start)
        metrics.BYTES.labels("received", "peer").inc(moved)
        seconds = trio.current_time() - segment.begun_at
        self._router.report_transfer(segment.source, moved_bytes=moved, seconds=seconds)
