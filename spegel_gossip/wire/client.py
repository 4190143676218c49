"""Requests to other members: signed, over connections that are kept.

A request may be sent twice (a kept connection that had died, a clock that was
corrected), so every request between peers is one that may be repeated.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType

import trio

from spegel_gossip.errors import DecodeError
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.wire import metrics, signing
from spegel_gossip.wire.bodies import BodySealer, answer_context
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.errors import PeerProtocolError, PeerRefusedError, PeerUnreachableError
from spegel_gossip.wire.pool import ConnectionPool
from spegel_gossip.wire.question import Question, Signer, remember
from spegel_gossip.wire.response import PeerAnswer, PeerResponse, read_body, read_response_head
from spegel_gossip.wire.streams import send_all, without_delay
from spegel_gossip.wire.tls import PeerTls

CONNECT_TIMEOUT = 1.5
"""Seconds for each address of a member: the kernel sends a first packet that is lost again after one."""

CALL_TIMEOUT = 5.0
ANSWER_TIMEOUT = 30.0
"""Seconds for a response head, at most; a caller who has less patience cancels."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_REFUSALS = frozenset({401, 403})
_BODYLESS = frozenset({204, 304})


class _StaleConnectionError(Exception):
    """The connection turned out to be closed before it gave a byte."""


class PeerClient:
    """Asks other members; one for the process, so that connections are shared."""

    def __init__(
        self, credentials: Credentials, *, clock: Callable[[], float], tls: PeerTls | None = None
    ) -> None:
        """Take the clock as unix seconds, and what encrypts connections, if anything does."""
        self._sealer = BodySealer(credentials)
        self._signer = Signer(credentials, self._sealer, clock)
        self._pool = ConnectionPool()
        self._tls = tls
        self._working: dict[str, Address] = {}

    async def call(
        self,
        to: Peer,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | None = None,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109 # running out is the peer's failure, not a cancellation
    ) -> PeerAnswer:
        """Ask and return the whole answer; both bodies are sealed when there is a key.

        Args:
            to: whom; its name may be empty for a seed, on paths below `/gossip/`
            method: in capitals
            path: with the query, as it travels
            headers: more of them; those that begin with `Spegel-Gossip-` are signed too
            body: None for none
            timeout: seconds for everything, connecting included

        Raises:
            PeerUnreachableError: no connection, or no answer in time.
            PeerRefusedError: it does not accept us.
            PeerProtocolError: it answered nonsense, or in clear where it had to seal.
        """
        question = Question(to, method, path, headers, body or b"", is_sealed=True)
        with trio.move_on_after(timeout):
            response = await self._exchange(question)
            drained = False
            try:
                data = b"" if method == "HEAD" else await read_body(response, peer=question.peer)
                drained = True
            finally:
                response.close(drained=drained)
            return self._open_answer(question, response, data)
        raise PeerUnreachableError(question.peer, f"no answer within {timeout:g} s")

    async def open(
        self, to: Peer, method: str, path: str, *, headers: Mapping[str, str] = _NO_HEADERS
    ) -> PeerResponse:
        """Ask and return as soon as the response head is in; the caller reads the body and closes.

        Raises:
            PeerUnreachableError: no connection, or no response head in time.
            PeerRefusedError: it does not accept us.
            PeerProtocolError: it answered nonsense.
        """
        return await self._exchange(Question(to, method, path, headers, b"", is_sealed=False))

    def set_clock_offset(self, peer: str, seconds: float) -> None:
        """Sign what goes to a member with the time by its own clock, so many seconds ahead of ours."""
        self._signer.set_clock_offset(peer, seconds)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    def _open_answer(self, question: Question, response: PeerResponse, data: bytes) -> PeerAnswer:
        sender = signing.decode_name(response.headers.get(signing.SENDER, ""))
        if question.to.name and sender != question.to.name:
            raise PeerProtocolError(question.peer, f"{sender!r} answered in its place")
        # The answer to HEAD has no body that could be sealed.
        has_body = question.method != "HEAD" and response.status not in _BODYLESS
        if not self._sealer.has_key or not has_body:
            return PeerAnswer(response.status, response.headers, data, sender)
        if response.headers.get(signing.SEALED) == "1":
            try:
                context = answer_context(response.nonce, response.status)
                data = self._sealer.open_untrusted(data, sender=sender, context=context)
            except DecodeError as exc:
                raise PeerProtocolError(question.peer, str(exc)) from exc
        elif not self._sealer.accepts_plaintext:
            raise PeerProtocolError(question.peer, f"answered {response.status} in clear")
        return PeerAnswer(response.status, response.headers, data, sender)

    async def _exchange(self, question: Question) -> PeerResponse:
        was_signed = self._signer.signs(question)
        response = await self._attempt(question)
        if response.status == 401:
            response.close(drained=False)
            if self._signer.learn_clock(question, response) or self._signer.learn_mode(
                question, was_signed=was_signed
            ):
                response = await self._attempt(question)
        if response.status in _REFUSALS:
            response.close(drained=False)
            raise PeerRefusedError(question.peer, f"it answered {response.status}", status=response.status)
        return response

    async def _attempt(self, question: Question) -> PeerResponse:
        """Send once over a kept connection if there is one, and over a new one if there is not."""
        addresses = self._addresses(question)
        for address in addresses:
            kept = self._pool.take(address)
            if kept is not None:
                try:
                    return await self._converse(question, address, kept)
                except _StaleConnectionError:
                    break
        address, sock = await self._connect(question, addresses)
        try:
            return await self._converse(question, address, sock)
        except _StaleConnectionError as exc:
            raise PeerUnreachableError(question.peer, "it closed the connection without an answer") from exc

    async def _converse(
        self, question: Question, address: Address, sock: trio.socket.SocketType
    ) -> PeerResponse:
        """Send the request and read the response head; the socket is closed if that fails."""
        nonce, connection, data = self._signer.sign(question)
        response = None
        try:
            with trio.move_on_after(ANSWER_TIMEOUT) as scope:
                await send_all(sock, data)
                response = await read_response_head(sock, connection, peer=question.peer, nonce=nonce)
            if scope.cancelled_caught:
                raise PeerUnreachableError(question.peer, f"no answer within {ANSWER_TIMEOUT:g} s")
        except OSError as exc:
            raise _StaleConnectionError from exc
        finally:
            if response is None:
                sock.close()
        if response is None:
            raise _StaleConnectionError
        metrics.REQUESTS.labels("sent", f"{response.status // 100}xx").inc()
        response.release_to(self._pool, address)
        return response

    def _addresses(self, question: Question) -> list[Address]:
        """Return the peer's addresses, the one that worked last in front."""
        working = self._working.get(question.peer)
        addresses = list(question.to.addresses)
        if working in addresses:
            addresses.remove(working)
            addresses.insert(0, working)
        return addresses

    async def _connect(
        self, question: Question, addresses: list[Address]
    ) -> tuple[Address, trio.socket.SocketType]:
        failures = []
        for address in addresses:
            try:
                sock = await _connect_to(address)
                if self._tls is not None:
                    sock = await self._tls.connect(sock)
            except OSError as exc:
                failures.append(f"{address}: {exc.strerror or exc}")
                continue
            remember(self._working, question.peer, address)
            return address, sock
        raise PeerUnreachableError(question.peer, "; ".join(failures) or "it has no address")


async def _connect_to(address: Address) -> trio.socket.SocketType:
    """Connect within `CONNECT_TIMEOUT`.

    Raises:
        OSError: it did not work, or took too long.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    connected = False
    try:
        with trio.move_on_after(CONNECT_TIMEOUT):
            without_delay(sock)
            await sock.connect((address.host, address.port))
            connected = True
    finally:
        if not connected:
            sock.close()
    if not connected:
        raise TimeoutError(f"no connection within {CONNECT_TIMEOUT:g} s")
    return sock
