"""Hypercorn's trio TCP server, with a callable in the ASGI scope that lets the kernel send a blob.

It reaches into Hypercorn 0.18 and h11 0.16, which pyproject.toml pins; `seam.py` compares
what it leans on when the server starts. Plain TCP and HTTP/1.1 only.

The body is framed by h11 as one Data event whose data is an object with nothing but a
length, so h11 counts the bytes and keeps its state, and keep-alive with it, while the
bytes themselves never pass through this process.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    LifespanState,
    Scope,
)

from spegel_gossip.content import BlobReader
from spegel_gossip.fetching import BlobStream
from spegel_gossip.splice.closing import close_with_fin, send_fin
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.errors import ClientGoneError, ClientStalledError
from spegel_gossip.splice.extension import EXTENSION, GONE_EXTENSION
from spegel_gossip.splice.http1 import Http1Protocol
from spegel_gossip.splice.idle import IdleWatch
from spegel_gossip.splice.outlet import Outlet
from spegel_gossip.splice.pump import Pump, close_source

BODILESS_STATUSES = frozenset({204, 304})
BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
"""Of a request; without either it has no body."""

CLOSES = (b"connection", b"close")
"""Of the last answer on a connection: its client sends nothing more on it, which the end would lose."""

ANSWER_PROGRESS_TIMEOUT = 20.0
"""Seconds without progress after which a client that does not read its answer is given up."""


class BodyLength:
    """Stands for a body in h11's state machine, which only asks for its length."""

    def __init__(self, length: int) -> None:
        """Keep the length in bytes."""
        self._length = length

    def __len__(self) -> int:
        return self._length


class BlobTCPServer(TCPServer):
    """One connection: Hypercorn's, except that it can send blobs and always ends with FIN.

    Hypercorn closes a connection the moment it is told to, which is an RST where input
    is unread. Here ending means FIN and no more reading; the connection's own task closes
    the socket at last, when nobody uses it any more.
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        pump: Pump,
        stream: trio.SocketStream,
    ) -> None:
        """Wrap the application; `stream` is plain TCP."""
        # Hypercorn types the stream as TLS and tells by its attributes that it is not.
        super().__init__(self._run_app, config, context, state, cast("Any", stream))
        self._inner_app = app
        self._pump = pump
        self._socket = stream.socket
        self._reading = trio.CancelScope()
        self._watch = IdleWatch(config.keep_alive_timeout, context.terminated, self._initiate_server_close)
        self.idle_task = cast("Any", self._watch)
        self._cancelled_when_gone = trio.CancelScope()
        self._is_gone = False
        self._is_holding = False
        self._held = b""

    async def _run_app(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        connection = self._http1_connection()
        if scope["type"] == "http" and connection is not None:
            exchange = BlobExchange(self, connection, scope, send)
            extensions = cast("dict[str, Any]", scope["extensions"])
            extensions[EXTENSION] = exchange.send_blob
            if not any(name in BODY_HEADERS for name, _ in scope["headers"]):
                extensions[GONE_EXTENSION] = self._cancel_when_gone
            send = exchange.send
        await self._inner_app(scope, receive, send, sync_spawn, call_soon)

    def _http1_connection(self) -> h11.Connection | None:
        protocol = self.protocol.protocol
        if isinstance(protocol, H11Protocol) and isinstance(protocol.connection, h11.Connection):
            return protocol.connection
        return None

    def _cancel_when_gone(self, scope: trio.CancelScope) -> None:
        self._cancelled_when_gone = scope
        if self._is_gone:
            scope.cancel()

    def _gone(self) -> None:
        self._is_gone = True
        self._cancelled_when_gone.cancel()

    def is_stopping(self) -> bool:
        """Whether the server ends this connection after the answer under way."""
        return self.context.terminated.is_set()

    def hold_head(self) -> None:
        """Keep what is sent next, the head of an answer, until there is something to send with it."""
        self._is_holding = True

    async def send_body(
        self, connection: h11.Connection, source: BlobReader | BlobStream, offset: int, count: int
    ) -> Delivery:
        """Send a whole response body past h11; after a short one, FIN and nothing more."""
        # A peer may take its time for the first byte; a file has it.
        has_more = isinstance(source, BlobReader) and source.fileno() is not None
        if not await self._send_raw(b"", flags=socket.MSG_MORE if has_more else 0):
            await self._end()
        async with self.send_lock:
            connection.send_with_data_passthrough(h11.Data(data=cast(bytes, BodyLength(count))))
            try:
                delivery = await self._pump.send(self._socket, source, offset, count)
            except BaseException:
                connection.send_failed()
                raise
            if not delivery.is_complete:
                # h11 believes the body whole; this keeps it from starting another response.
                connection.send_failed()
                send_fin(self._socket)
            return delivery

    async def protocol_send(self, event: Event) -> None:
        """Carry out what the protocol wants done with the connection."""
        if isinstance(event, RawData):
            if self._is_holding and event.data:
                self._is_holding, self._held = False, event.data
            elif not await self._send_raw(event.data):
                await self._end()
        elif isinstance(event, Closed):
            if self._held:  # and not else: a blob under way has the lock, and must not be waited for
                await self._send_raw(b"")
            await self._end()
        else:
            await super().protocol_send(event)

    async def _send_raw(self, data: bytes, *, flags: int = 0) -> bool:
        outlet = Outlet(self._socket, progress_timeout=ANSWER_PROGRESS_TIMEOUT)
        async with self.send_lock:
            data, self._held = self._held + data, b""
            # Shielded: half an answer, left by a cancelled handler, would spoil the connection.
            with trio.CancelScope(shield=True):
                try:
                    await outlet.write(data, flags=flags)
                except (ClientGoneError, ClientStalledError):
                    return False
        return True

    async def _end(self) -> None:
        # First the handler learns of it: the reader that is cancelled next may be this very task.
        self._gone()
        await self.protocol.handle(Closed())
        send_fin(self._socket)
        self._reading.cancel()

    async def _read_data(self) -> None:
        if isinstance(self.protocol.protocol, H11Protocol):
            self.protocol.protocol = Http1Protocol.in_place_of(self.protocol.protocol)
        with self._reading:
            await super()._read_data()
        self._gone()
        # Hypercorn would keep a connection that the client closed until its idle time is over.
        self._watch.close()

    async def _initiate_server_close(self) -> None:
        await self._end()

    async def _close(self) -> None:
        await close_with_fin(self._socket)
        await self.stream.aclose()


class BlobExchange:
    """One request and its response, as far as a blob may become its body."""

    def __init__(
        self, server: BlobTCPServer, connection: h11.Connection, scope: HTTPScope, send: ASGISendCallable
    ) -> None:
        """Stand between the handler and the server's own `send`."""
        self._server = server
        self._connection = connection
        self._send = send
        self._has_body = scope["method"] != "HEAD"
        self._content_length: int | None = None
        self._is_cut = False

    async def send(self, message: ASGISendEvent) -> None:
        """Pass a message on; after a short body there is nobody to pass it to."""
        if self._is_cut:
            return
        if message["type"] == "http.response.start":
            self._server.hold_head()
            if self._server.is_stopping():
                message = message | {"headers": [*message.get("headers", []), CLOSES]}
            self._has_body = self._has_body and message["status"] not in BODILESS_STATUSES
            for name, value in message.get("headers", []):
                if name.lower() == b"content-length":
                    self._content_length = int(value)
        await self._send(message)

    async def send_blob(self, source: BlobReader | BlobStream, offset: int, count: int) -> Delivery:
        """Send a blob as the body (`extension.SendBlob`)."""
        try:
            if self._content_length != count:
                raise RuntimeError(
                    f"send_blob of {count} bytes in a response whose Content-Length is {self._content_length}"
                )
            if not self._has_body or count == 0:
                return Delivery(0, Ending.COMPLETE)
            # Until it proves whole: a cancelled handler must not go on with this response either.
            self._is_cut = True
            delivery = await self._server.send_body(self._connection, source, offset, count)
            self._is_cut = not delivery.is_complete
            return delivery
        finally:
            await close_source(source)
