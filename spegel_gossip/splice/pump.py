"""Moves blob bytes to a client's socket, a turn of the loop at a time.

Whoever has a body to send holds the process's one `Pump`, and nobody outside knows
that it copies in turns on the trio loop: it could move to threads of its own behind
the same methods. One pump for all, because the length of a turn depends on how many
transfers there are, whichever server they belong to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from spegel_gossip.content import BlobReader, ContentStoreError, PartialBlob
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.fetching import BlobStream, Segment
from spegel_gossip.splice.caching import CacheRelease
from spegel_gossip.splice.conduit import Conduit
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.errors import ClientGoneError, ClientStalledError, SourceFailedError
from spegel_gossip.splice.from_file import Disk, FileSender
from spegel_gossip.splice.growing import push_growing
from spegel_gossip.splice.outlet import Meter, Outlet
from spegel_gossip.splice.throttle import Throttle

READ_CHUNK = 256 << 10
"""Bytes per `read_at` where a blob has no descriptor; containerd's Read sends 1 MiB messages at most."""

CLOSE_TIMEOUT = 1.0
"""Seconds a source gets to close when the transfer itself was cancelled."""


async def close_source(source: BlobReader | BlobStream, *, delivered: int = 0) -> None:
    """Close what a body came from, within a second even in a cancelled scope."""
    with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
        if isinstance(source, BlobReader):
            await source.aclose()
        else:
            await source.aclose(delivered=delivered)


class Pump:
    """Sends blobs. Made once per process; belongs to the loop it runs on."""

    def __init__(
        self,
        config: PumpConfig | None = None,
        *,
        make_conduit: Callable[[Callable[[], int]], Conduit] = Conduit,
    ) -> None:
        """Start with no transfer under way."""
        self._config = config or PumpConfig()
        self._active = 0
        self._idle = trio.Event()
        self._idle.set()
        self._disk = Disk(self._config.disk_threads)
        self._conduit = make_conduit(self._turn)

    @property
    def active(self) -> int:
        """Transfers under way."""
        return self._active

    async def wait_idle(self) -> None:
        """Return once no transfer is under way."""
        while self._active:
            await self._idle.wait()

    async def send(
        self,
        sock: trio.socket.SocketType,
        source: BlobReader | BlobStream,
        offset: int,
        count: int,
        *,
        throttle: Throttle | None = None,
        meter: Meter | None = None,
    ) -> Delivery:
        """Send `count` bytes of a blob from `offset`, and close the source.

        The socket must stay open until this returns: a worker thread may be using
        its descriptor. A `throttle` bounds what is sent from the local store, a `meter` measures it.
        """
        if isinstance(source, BlobReader):
            return await self.send_reader(sock, source, offset, count, throttle=throttle, meter=meter)
        return await self.send_stream(sock, source, offset, count)

    async def send_file(self, sock: trio.socket.SocketType, fd: int, offset: int, count: int) -> Delivery:
        """Send `count` bytes of a regular file from `offset`."""
        outlet = self._outlet(sock)
        return await self._deliver(outlet, partial(self._push_file, outlet, fd, offset, count))

    async def send_reader(
        self,
        sock: trio.socket.SocketType,
        reader: BlobReader,
        offset: int,
        count: int,
        *,
        throttle: Throttle | None = None,
        meter: Meter | None = None,
    ) -> Delivery:
        """Send `count` bytes of an open local blob from `offset`, and close the reader."""
        outlet = self._outlet(sock, throttle, meter)
        fd = reader.fileno()
        if fd is not None:
            work = partial(self._push_file, outlet, fd, offset, count)
        else:
            work = partial(self._push_reads, outlet, reader, offset, count)
        try:
            return await self._deliver(outlet, work)
        finally:
            await close_source(reader)

    async def send_growing(
        self,
        sock: trio.socket.SocketType,
        growing: PartialBlob,
        offset: int,
        count: int,
        *,
        is_over: Callable[[int], bool] = lambda _offset: False,
        throttle: Throttle | None = None,
        meter: Meter | None = None,
    ) -> Delivery:
        """Send `count` bytes from `offset` of a blob that is still arriving, as they arrive, and close it.

        It ends short where `is_over` says that no more than so many bytes are to be waited for.
        """
        outlet = self._outlet(sock, throttle, meter)
        try:
            work = partial(
                push_growing,
                outlet,
                growing,
                offset,
                count,
                turn=self._turn,
                disk=self._disk,
                is_over=is_over,
            )
            return await self._deliver(outlet, work)
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await growing.aclose()

    async def send_stream(
        self, sock: trio.socket.SocketType, stream: BlobStream, offset: int, count: int
    ) -> Delivery:
        """Send `count` bytes from `offset` as other nodes send them, and close the stream.

        A source that ends short or stalls is replaced by the stream's next one,
        within the same body.
        """
        outlet = self._outlet(sock)
        try:
            return await self._deliver(outlet, partial(self._push_stream, outlet, stream, offset, count))
        finally:
            await close_source(stream, delivered=outlet.moved)

    def close(self) -> None:
        """Release the idle pipes."""
        self._conduit.close()

    def _outlet(
        self, sock: trio.socket.SocketType, throttle: Throttle | None = None, meter: Meter | None = None
    ) -> Outlet:
        return Outlet(sock, progress_timeout=self._config.progress_timeout, throttle=throttle, meter=meter)

    def _turn(self) -> int:
        share = self._config.turn_budget // max(1, self._active)
        return min(max(share, self._config.min_turn), self._config.max_turn)

    async def _deliver(self, outlet: Outlet, work: Callable[[], Awaitable[None]]) -> Delivery:
        self._active += 1
        if self._idle.is_set():
            self._idle = trio.Event()
        try:
            await work()
        except ClientGoneError as exc:
            return Delivery(outlet.moved, Ending.CLIENT_GONE, str(exc))
        except ClientStalledError as exc:
            return Delivery(outlet.moved, Ending.CLIENT_STALLED, str(exc))
        except SourceFailedError as exc:
            return Delivery(outlet.moved, Ending.SOURCE_FAILED, str(exc))
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
        return Delivery(outlet.moved, Ending.COMPLETE)

    async def _push_file(self, outlet: Outlet, fd: int, offset: int, count: int) -> None:
        stop = offset + count
        sender = FileSender(outlet, fd, offset, self._disk)
        release = CacheRelease(
            fd,
            start=offset,
            threshold=self._config.drop_cache_above,
            on_dropped=sender.residency.dropped,
        )
        while offset < stop:
            sent = await sender.send(offset, stop - offset, turn=self._turn())
            if sent == 0:
                raise SourceFailedError(f"the blob's file ends at {offset}, {stop - offset} bytes early")
            offset += sent
            release.sent(offset)
        release.finish(offset)

    async def _push_reads(self, outlet: Outlet, reader: BlobReader, offset: int, count: int) -> None:
        stop = offset + count
        while offset < stop:
            data = b""
            with trio.move_on_at(outlet.give_up_at):
                try:
                    data = await reader.read_at(offset, min(outlet.turn(READ_CHUNK), stop - offset))
                except ContentStoreError as exc:
                    raise SourceFailedError(str(exc)) from exc
            if not data:
                raise SourceFailedError(f"the store gave no bytes at {offset}, {stop - offset} bytes early")
            await outlet.permit(len(data))
            await outlet.write(data)
            offset += len(data)

    async def _push_stream(self, outlet: Outlet, stream: BlobStream, offset: int, count: int) -> None:
        begun_at = outlet.moved
        while (moved := outlet.moved - begun_at) < count:
            segment = await self._next_segment(outlet, stream, offset + moved)
            wanted = min(segment.length, count - moved)
            head = memoryview(segment.head)[:wanted]
            await outlet.write(head)
            await self._conduit.move(segment, outlet, wanted - len(head))

    async def _next_segment(self, outlet: Outlet, stream: BlobStream, offset: int) -> Segment:
        with trio.move_on_at(outlet.give_up_at):
            try:
                return await stream.next_segment(offset)
            except SpegelGossipError as exc:
                raise SourceFailedError(str(exc)) from exc
        raise SourceFailedError(f"no source took over at {offset} in time")
