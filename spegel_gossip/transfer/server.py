"""Serves what this node holds to other members: `/blobs/<digest>` and `/manifests/<digest>`.

Both answer with the content's bytes as they are; who asks knows what it asked for. Manifests
are never refused for want of an upload, because a pull begins with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import trio

from spegel_gossip.content import (
    BlobReader,
    ContentNotFoundError,
    ContentStore,
    ContentStoreUnavailableError,
    PartialBlob,
    PartialStatus,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidRangeError
from spegel_gossip.oci.media_type import OCTET_STREAM
from spegel_gossip.oci.range import ByteRange, parse_range, unsatisfied_content_range
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.pump import Pump, close_source
from spegel_gossip.splice.throttle import Throttle
from spegel_gossip.swarm.uplink import Uplink
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.opening import BLOBS_PATH, BUSY_HEADER, MANIFESTS_PATH, TRY_HEADER
from spegel_gossip.transfer.readers import Readers
from spegel_gossip.transfer.tail import (
    BEHIND_HEADER,
    TAIL_HEADER,
    Place,
    TailRequest,
    is_ahead,
    parse_tail_untrusted,
)
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.server import PeerServer

log = structlog.get_logger(__name__)

GROWING = "partial"
"""How bytes of a copy that is still arriving are counted."""

METHODS = frozenset({"GET", "HEAD"})


class TransferServer:
    """Answers other members from the content store."""

    def __init__(
        self,
        store: ContentStore,
        server: PeerServer,
        config: TransferConfig,
        *,
        pump: Pump,
        place_of: Place | None = None,
        is_given_up: Callable[[Digest, int], bool] = lambda _digest, _offset: False,
        uplink: Uplink | None = None,
    ) -> None:
        """Register the two paths; nothing runs but what the server calls.

        Args:
            store: what this node has
            server: where others ask for it
            config: how many at once, how fast
            pump: the process's one
            place_of: how far this node is with a blob; None: growing copies are not sent
            is_given_up: whether nobody need wait for more of an ingest here than so many bytes
            uplink: learns what is sent
        """
        self._uplink = uplink or Uplink()
        self._readers = Readers(config.max_partial_uploads)
        self._store = store
        self._place_of = place_of
        self._is_given_up = is_given_up
        self._max_uploads = config.uploads_at_once
        self._pump = pump
        self._throttle = None if config.upload_rate is None else Throttle(config.upload_rate)
        self._uploads = 0
        server.route(BLOBS_PATH, self._serve_blob)
        server.route(MANIFESTS_PATH, self._serve_manifest)

    async def _serve_blob(self, request: PeerRequest, exchange: PeerExchange) -> None:
        if request.method == "GET" and self._uploads >= self._max_uploads:
            await self._refuse_busy(request, exchange)
            return
        await self._serve(request, exchange, request.path.removeprefix(BLOBS_PATH))

    async def _refuse_busy(self, request: PeerRequest, exchange: PeerExchange) -> None:
        headers = {BUSY_HEADER: str(self._uploads)}
        others = self._readers.others(request.path.rpartition("/")[2], but=request.sender)
        if others:
            headers[TRY_HEADER] = others
        await self._refuse(exchange, 503, outcome="busy", headers=headers)

    async def _serve_manifest(self, request: PeerRequest, exchange: PeerExchange) -> None:
        await self._serve(request, exchange, request.path.removeprefix(MANIFESTS_PATH))

    async def _serve(self, request: PeerRequest, exchange: PeerExchange, name: str) -> None:
        if request.method not in METHODS:
            await self._refuse(exchange, 405, outcome="refused", headers={"Allow": "GET, HEAD"})
            return
        try:
            digest = Digest.parse(name)
        except InvalidDigestError:
            await self._refuse(exchange, 400, outcome="refused")
            return
        self._uploads += 1
        metrics.IN_FLIGHT.labels("sent").inc()
        try:
            reader = await self._open_whole(digest)
            if reader is None:
                await self._serve_growing(request, exchange, digest)
                return
            try:
                await self._answer(request, exchange, digest, reader)
            finally:
                await close_source(reader)
        except ContentNotFoundError:
            await self._refuse(exchange, 404, outcome="miss")
        except ContentStoreUnavailableError as exc:
            log.debug("a peer was sent elsewhere", digest=str(digest), reason=str(exc))
            await self._refuse(exchange, 503, outcome="unavailable")
        finally:
            self._uploads -= 1
            metrics.IN_FLIGHT.labels("sent").dec()

    async def _open_whole(self, digest: Digest) -> BlobReader | None:
        try:
            return await self._store.open(digest)
        except ContentNotFoundError:
            return None

    async def _serve_growing(self, request: PeerRequest, exchange: PeerExchange, digest: Digest) -> None:
        """Send a copy that is still arriving, to a child that is behind it.

        Raises:
            ContentNotFoundError: there is none, or the child did not ask for one.
        """
        child = parse_tail_untrusted(request.headers.get(TAIL_HEADER.lower()))
        if child is None or self._place_of is None or request.method != "GET":
            raise ContentNotFoundError(digest)
        growing = await self._store.open_partial(digest)
        try:
            status = growing.poll()
            if status is None or status.total == 0 or self._has_no_more(digest, status, child):
                raise ContentNotFoundError(digest)
            _, stamp = self._place_of(digest)
            if not is_ahead(status, stamp, child):
                await self._refuse(
                    exchange, 503, outcome="behind", headers={BEHIND_HEADER: str(status.offset)}
                )
                return
            if self._readers.is_full(str(digest)):
                await self._refuse_busy(request, exchange)
                return
            await self._answer(request, exchange, digest, growing)
        finally:
            await growing.aclose()

    async def _answer(
        self, request: PeerRequest, exchange: PeerExchange, digest: Digest, source: BlobReader | PartialBlob
    ) -> None:
        size = source.size if isinstance(source, BlobReader) else source.total
        headers = {
            "Content-Type": OCTET_STREAM,
            "Docker-Content-Digest": str(digest),
            "Accept-Ranges": "bytes",
        }
        # A range is defined for GET only (RFC 9110, section 14.2).
        wanted = request.headers.get("range") if request.method == "GET" else None
        try:
            part = parse_range(wanted, size)
        except InvalidRangeError:
            unsatisfied = {"Content-Range": unsatisfied_content_range(size)}
            await self._refuse(exchange, 416, outcome="refused", headers=unsatisfied)
            return
        whole = ByteRange(0, size)
        status = 200 if part is None else 206
        if part is not None:
            headers["Content-Range"] = part.content_range(size)
        body = part or whole
        is_file = isinstance(source, BlobReader) and source.fileno() is not None
        sock = await exchange.start(status, headers=headers, content_length=body.length, body_follows=is_file)
        if request.method == "HEAD":
            exchange.finish(sent=0)
            metrics.UPLOADS.labels("head").inc()
            return
        with self._readers.reading(
            str(digest), request.sender, is_partial=not isinstance(source, BlobReader)
        ):
            self._uplink.upload_began()
            try:
                kind, delivery = await self._send(sock, digest, source, body)
            finally:
                self._uplink.upload_ended()
        exchange.finish(sent=delivery.moved)
        metrics.BYTES.labels("sent", kind).inc(delivery.moved)
        metrics.UPLOADS.labels(delivery.ending.value).inc()
        if kind != GROWING or delivery.moved:
            # A copy that is not on its way here any more is no fault of this node's.
            self._log(delivery, digest, to=request.sender)

    def is_read(self, digest: Digest) -> bool:
        """Return whether another node reads a blob here now."""
        return str(digest) in self._readers

    def _has_no_more(self, digest: Digest, status: PartialStatus, child: TailRequest) -> bool:
        """Return whether a child would wait in vain: for a pull that ended, or a request that comes again.

        A request that gave its slot back comes when its turn comes, seconds later. Whoever was told to read
        from this node, as one that would have bytes, has better sources by then, and holds a slot meanwhile.
        """
        is_waiting = status.offset <= child.offset and status.offset < status.total
        return is_waiting and self._is_given_up(digest, status.offset)

    async def _send(
        self,
        sock: trio.socket.SocketType,
        digest: Digest,
        source: BlobReader | PartialBlob,
        body: ByteRange,
    ) -> tuple[str, Delivery]:
        if isinstance(source, BlobReader):
            kind = "read" if source.fileno() is None else "file"
            return kind, await self._pump.send(
                sock, source, body.start, body.length, throttle=self._throttle, meter=self._uplink
            )
        return GROWING, await self._pump.send_growing(
            sock,
            source,
            body.start,
            body.length,
            is_over=partial(self._is_given_up, digest),
            throttle=self._throttle,
            meter=self._uplink,
        )

    def _log(self, delivery: Delivery, digest: Digest, *, to: str) -> None:
        if delivery.ending is Ending.SOURCE_FAILED:
            log.warning(
                "a blob could not be read to its end; the peer goes on elsewhere",
                digest=str(digest),
                peer=to,
                reason=delivery.detail,
            )

    async def _refuse(
        self, exchange: PeerExchange, status: int, *, outcome: str, headers: dict[str, str] | None = None
    ) -> None:
        metrics.UPLOADS.labels(outcome).inc()
        await exchange.answer(status, headers=headers or {})
