"""The TCP listener: signed HTTP/1.1 from other members, handed out by path.

A request's head is checked before its body is read, so a stranger costs one head.
Handlers may take the socket for the body of their answer; h11 keeps the framing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import structlog
import trio

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.wire import metrics, signing
from spegel_gossip.wire.bodies import BodySealer, request_context
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.quiet import QuietLog
from spegel_gossip.wire.response import MAX_BODY_BYTES, MAX_HEAD_BYTES
from spegel_gossip.wire.silent import SilentConnections
from spegel_gossip.wire.streams import GONE, address_of, close_gently, without_delay
from spegel_gossip.wire.tls import PeerTls
from spegel_gossip.wire.verify import RequestRefusedError, RequestVerifier

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 1024
"""Connections at a time; one more takes the place of one on which nothing is asked, if there is any."""

STRANGER_TIMEOUT = 5.0
"""Seconds for the first request head: whoever cannot sign holds a place no longer."""

IDLE_TIMEOUT = 60.0
"""Seconds between two requests; longer than the client keeps idle connections."""

BODY_TIMEOUT = 30.0
ACCEPT_BACKOFF = 0.2
"""Seconds without accepting when file descriptors have run out."""

MAX_QUERY_FIELDS = 32
_READ_BYTES = 64 * 1024

PeerHandler = Callable[[PeerRequest, PeerExchange], Awaitable[None]]


class _UnusableError(Exception):
    """The connection cannot go on; nothing more is owed to the other end."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PeerServer:
    """The one owner of the TCP listener."""

    def __init__(
        self,
        listener: socket.socket,
        credentials: Credentials,
        *,
        clock: Callable[[], float],
        tls: PeerTls | None = None,
    ) -> None:
        """Take a listening socket; whoever opened it closes it.

        Args:
            listener: listening
            credentials: this node's
            clock: unix seconds
            tls: encrypts every connection; None for none
        """
        self._listener = trio.socket.from_stdlib_socket(listener)
        self._credentials = credentials
        self._tls = tls
        self._verifier = RequestVerifier(credentials, clock)
        self._sealer = BodySealer(credentials)
        self._routes: dict[str, PeerHandler] = {}
        self._connections = 0
        self._accepting = trio.CancelScope()
        self._silent = SilentConnections()
        self._ended = trio.Event()
        self._log_refused = QuietLog("peer request refused")

    def route(self, path_prefix: str, handler: PeerHandler) -> None:
        """Have requests whose path begins with `path_prefix` served; the longest prefix wins.

        A handler that raises `DecodeError` answers 400.
        """
        if path_prefix in self._routes:
            raise RuntimeError(f"{path_prefix} has a handler already")
        self._routes[path_prefix] = handler

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until drained."""
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                with self._accepting:
                    await self._accept(nursery)
                self._listener.close()  # or the kernel would go on taking connections for us
        finally:
            self._ended.set()

    async def drain(self) -> None:
        """Take no new request, and return when those under way are answered.

        The caller bounds the wait; what is cut off then ends with FIN.
        """
        self._accepting.cancel()
        self._silent.displace_all()
        await self._ended.wait()

    async def _accept(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                sock, peer = await self._listener.accept()
            except OSError as exc:
                # Out of descriptors, or the peer was gone before we looked. Never
                # the end of the listener.
                self._refuse("accept", str(exc))
                await trio.sleep(ACCEPT_BACKOFF)
                continue
            address = address_of(peer)
            if address is None or not self._has_place():
                self._refuse("connections_full", str(peer[0]))
                sock.close()
                continue
            nursery.start_soon(self._serve_connection, sock, address)

    def _has_place(self) -> bool:
        if self._connections < MAX_CONNECTIONS:
            return True
        if not self._silent.displace():
            return False  # all are being served
        metrics.DISPLACED.inc()
        return True

    async def _serve_connection(self, sock: trio.socket.SocketType, address: Address) -> None:
        self._connections += 1
        metrics.CONNECTIONS.inc()
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            without_delay(sock)
            if self._tls is not None:
                with self._silent.wait(was_served=False) as scope:
                    sock = await self._tls.accept(sock)
                if scope.cancelled_caught:
                    return
            was_served = False
            while await self._serve_request(connection, sock, address, was_served=was_served):
                connection.start_next_cycle()
                was_served = True
        except (_UnusableError, h11.RemoteProtocolError) as exc:
            self._refuse(exc.reason if isinstance(exc, _UnusableError) else "garbage", f"{address}: {exc}")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away
        except OSError as exc:
            if exc.errno not in GONE:
                self._refuse("socket", f"{address}: {exc}")
        finally:
            self._connections -= 1
            metrics.CONNECTIONS.dec()
            if connection.our_state is h11.IDLE:
                sock.close()  # nothing was asked, so nothing can be lost
            else:
                await close_gently(sock)

    async def _serve_request(
        self,
        connection: h11.Connection,
        sock: trio.socket.SocketType,
        address: Address,
        *,
        was_served: bool,
    ) -> bool:
        """Serve one request; return whether another one may follow."""
        if self._accepting.cancel_called:
            return False
        event = None
        timeout = IDLE_TIMEOUT if was_served else STRANGER_TIMEOUT
        with self._silent.wait(timeout, was_served=was_served):
            event = await _next_event(connection, sock)
        if not isinstance(event, h11.Request):
            return False  # silent for too long, or closed
        method, target = event.method.decode("ascii"), event.target.decode("ascii")
        headers = _headers(event)
        exchange = PeerExchange(
            connection,
            sock,
            self._sealer,
            method=method,
            nonce=headers.get(signing.NONCE, ""),
            me=self._credentials.name,
            wants_sealed=headers.get(signing.SEALED) == "1",
        )
        try:
            sender = self._verifier.check(method, target, headers)
            body = await self._read_body(connection, sock, sender, headers)
        except RequestRefusedError as exc:
            self._refuse(exc.reason, str(address))
            await exchange.refuse(exc.status, exc.headers)
            return False  # its body may be unread
        path, query = _split(target)
        request = PeerRequest(method, path, query, headers, body, sender, address)
        await self._dispatch(request, exchange)
        return exchange.is_complete and connection.their_state is h11.DONE

    async def _read_body(
        self,
        connection: h11.Connection,
        sock: trio.socket.SocketType,
        sender: str,
        headers: Mapping[str, str],
    ) -> bytes:
        chunks: list[bytes] = []
        size = 0
        with trio.move_on_after(BODY_TIMEOUT) as scope:
            while not isinstance(event := await _next_event(connection, sock), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    raise _UnusableError("cut_short")
                chunks.append(event.data)
                size += len(event.data)
                if size > MAX_BODY_BYTES:
                    raise RequestRefusedError(413, "too_large")
        if scope.cancelled_caught:
            raise _UnusableError("slow_body")
        body = b"".join(chunks)
        if headers.get(signing.BODY_HASH, signing.EMPTY_BODY_HASH) != sha256(body).hexdigest():
            raise RequestRefusedError(401, "body_hash")
        if headers.get(signing.SEALED) != "1" or not body:
            return body
        try:
            context = request_context(headers.get(signing.NONCE, ""))
            return self._sealer.open_untrusted(body, sender=sender, context=context)
        except DecodeError as exc:
            raise RequestRefusedError(401, "sealed_body") from exc

    async def _dispatch(self, request: PeerRequest, exchange: PeerExchange) -> None:
        handler = self._handler(request.path)
        if handler is None:
            await exchange.answer(404)
            return
        try:
            await handler(request, exchange)
        except DecodeError as exc:
            self._refuse("body", f"{request.sender}: {exc}")
            if not exchange.is_answered:
                await exchange.answer(400)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as exc:  # one bug in a handler must not end the node
            if isinstance(exc, OSError) and exc.errno in GONE:
                raise
            log.exception(
                "peer request failed", method=request.method, path=request.path, sender=request.sender
            )
            if not exchange.is_answered:
                await exchange.answer(500)
        else:
            if not exchange.is_answered:
                log.error("peer request was not answered", method=request.method, path=request.path)
                await exchange.answer(500)

    def _handler(self, path: str) -> PeerHandler | None:
        fitting = [prefix for prefix in self._routes if path.startswith(prefix)]
        return self._routes[max(fitting, key=len)] if fitting else None

    def _refuse(self, reason: str, facts: str) -> None:
        metrics.REFUSED.labels(reason).inc()
        self._log_refused(reason=reason, peer=facts)


async def _next_event(connection: h11.Connection, sock: trio.socket.SocketType) -> h11.Event | None:
    """Return the next event; None if h11 will give no more on this connection."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Event):
            return event
        if event is h11.PAUSED:
            return None
        connection.receive_data(await sock.recv(_READ_BYTES))


def _headers(request: h11.Request) -> dict[str, str]:
    """Return the headers by lower-case name.

    Raises:
        _UnusableError: one that counts for the signature is there twice.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name = raw_name.decode("ascii")
        if name in headers and (name == "range" or name.startswith(signing.PREFIX)):
            raise _UnusableError("garbage")
        headers[name] = raw_value.decode("latin-1")
    return headers


def _split(target: str) -> tuple[str, dict[str, str]]:
    try:
        parts = urlsplit(target)
        fields = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError as exc:
        raise _UnusableError("garbage") from exc
    return unquote(parts.path), dict(fields)
