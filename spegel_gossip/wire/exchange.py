"""One request from a peer, and the answer to it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import h11
import trio

from spegel_gossip.swim.address import Address
from spegel_gossip.wire import metrics, signing
from spegel_gossip.wire.bodies import BodySealer, answer_context
from spegel_gossip.wire.streams import send_all

SEND_TIMEOUT = 30.0
"""Seconds in which a peer must have taken a whole small answer."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_BODYLESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class PeerRequest:
    """A request that may be served: signed for us by a member, its body opened."""

    method: str
    path: str
    """Decoded, without the query."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""

    body: bytes
    sender: str
    address: Address


class _Length:
    """Stands for body bytes that go out without passing through h11."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


class PeerExchange:
    """The answer to one request: either `answer`, or `start`, the bytes, and `finish`."""

    def __init__(
        self,
        connection: h11.Connection,
        sock: trio.socket.SocketType,
        sealer: BodySealer,
        *,
        method: str,
        nonce: str,
        me: str,
        wants_sealed: bool,
    ) -> None:
        self._connection = connection
        self._sock = sock
        self._sealer = sealer
        self._method = method
        self._nonce = nonce
        self._me = me
        self._wants_sealed = wants_sealed
        self._expected: int | None = None
        self.is_answered = False
        """Whether a response head has gone out."""

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer went out, so that another request may follow."""
        return self._connection.our_state is h11.DONE

    async def answer(
        self,
        status: int,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes = b"",
        sealed: bool = False,
    ) -> None:
        """Send a small answer.

        The answer to `PeerClient.call` is sealed anyway when there is a key.

        Args:
            status: the HTTP status
            headers: without Content-Length
            body: not sent for HEAD, but its length is
            sealed: never in clear, however the question was asked
        """
        fields = {**headers, signing.SENDER: signing.encode_name(self._me)}
        wants_sealed = self._wants_sealed or (sealed and not self._sealer.accepts_plaintext)
        if wants_sealed and self._sealer.has_key and status not in _BODYLESS:
            body = self._sealer.seal(body, context=answer_context(self._nonce, status))
            fields[signing.SEALED] = "1"
        head = self._head(status, fields, len(body))
        with trio.move_on_after(SEND_TIMEOUT):
            if self._method == "HEAD" or status in _BODYLESS:
                await send_all(self._sock, head + self._end())
                return
            data = self._connection.send(h11.Data(data=body)) or b""
            await send_all(self._sock, head + data + self._end())
            return
        raise trio.BrokenResourceError("the peer did not take the answer")

    async def refuse(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a refusal to somebody who may be nobody: bare, and nothing of it sealed."""
        self._wants_sealed = False
        await self.answer(status, headers={**headers, "Connection": "close"})

    async def start(
        self, status: int, *, headers: Mapping[str, str], content_length: int, body_follows: bool = False
    ) -> trio.socket.SocketType:
        """Send the response head and return the socket for the body.

        The caller writes the body to the socket itself (sendfile) and then calls
        `finish`. For HEAD it writes nothing.

        Args:
            status: the HTTP status
            headers: without Content-Length
            content_length: bytes of the body
            body_follows: it is at hand, so that the head may wait for it: who reads wakes once, not twice
        """
        head = self._head(status, headers, content_length)
        self._expected = 0 if self._method == "HEAD" else content_length
        with trio.move_on_after(SEND_TIMEOUT):
            flags = socket.MSG_MORE if body_follows and self._expected else 0
            await send_all(self._sock, head, flags=flags)
            return self._sock
        raise trio.BrokenResourceError("the peer did not take the response head")

    def finish(self, *, sent: int) -> None:
        """Say how many body bytes went out; after fewer than promised the connection is closed with FIN."""
        if self._expected is None or sent > self._expected:
            raise RuntimeError(f"finish({sent}) does not follow start({self._expected})")
        if sent < self._expected:
            return  # not complete: the server closes it
        if sent:
            self._connection.send_with_data_passthrough(h11.Data(data=cast("bytes", _Length(sent))))
        self._end()

    def _head(self, status: int, headers: Mapping[str, str], content_length: int) -> bytes:
        if self.is_answered:
            raise RuntimeError("a request is answered once")
        self.is_answered = True
        fields = [(name, value) for name, value in headers.items() if name.lower() != "content-length"]
        if status not in _BODYLESS:
            fields.append(("Content-Length", str(content_length)))
        metrics.REQUESTS.labels("received", f"{status // 100}xx").inc()
        return self._connection.send(h11.Response(status_code=status, headers=fields)) or b""

    def _end(self) -> bytes:
        return self._connection.send(h11.EndOfMessage()) or b""
