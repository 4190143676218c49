"""What comes back from a peer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import h11
import trio

from spegel_gossip.swim.address import Address
from spegel_gossip.wire.errors import PeerProtocolError, PeerUnreachableError
from spegel_gossip.wire.pool import ConnectionPool

HEAD_READ_BYTES = 16 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
"""The largest small body, either way. A push-pull between 5,000 members stays below 1 MiB."""

_READ_BYTES = 64 * 1024
_BODYLESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """A whole small answer, its body opened."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""

    body: bytes
    sender: str
    """Who answered; authentic when the answer was sealed."""


class PeerResponse:
    """An answer whose head is in and whose body is still to be read, from the socket itself."""

    def __init__(
        self,
        head: h11.Response,
        rest: bytes,
        content_length: int,
        *,
        sock: trio.socket.SocketType,
        nonce: str,
    ) -> None:
        self.status: int = head.status_code
        self.headers: Mapping[str, str] = {
            name.decode("ascii"): value.decode("latin-1") for name, value in head.headers
        }
        self.content_length = content_length
        """What the head says, also in the answer to HEAD."""

        self.head = rest
        """Body bytes that came along with the head; they precede those of the socket."""

        self.socket = sock
        self.nonce = nonce
        """Of the request that this answers."""

        self._release_to: tuple[ConnectionPool, Address] | None = None
        self._is_closed = False

    def release_to(self, pool: ConnectionPool, address: Address) -> None:
        """Say where the connection goes when it is drained."""
        if self.headers.get("connection", "").lower() != "close":
            self._release_to = (pool, address)

    async def aclose(self, *, drained: bool) -> None:
        """End it; a second call does nothing.

        Args:
            drained: the whole body was read, so the connection can be used again
        """
        self.close(drained=drained)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def close(self, *, drained: bool) -> None:
        """Do what `aclose` does, where nothing can be awaited."""
        if self._is_closed:
            return
        self._is_closed = True
        if drained and self._release_to is not None:
            pool, address = self._release_to
            pool.put(address, self.socket)
        else:
            self.socket.close()


async def read_response_head(
    sock: trio.socket.SocketType, connection: h11.Connection, *, peer: str, nonce: str
) -> PeerResponse | None:
    """Read up to the end of the response head, and not beyond what came with it.

    Args:
        sock: the connection
        connection: h11's, which has sent the request
        peer: whom to name in errors
        nonce: of the request

    Returns:
        None if the connection ended before the first byte.

    Raises:
        PeerProtocolError: what came is no response of ours.
    """
    seen = False
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await sock.recv(HEAD_READ_BYTES)
                if not data and not seen:
                    return None
                seen = True
                connection.receive_data(data)
            elif isinstance(event, h11.Response):
                break
            elif not isinstance(event, h11.InformationalResponse):
                raise PeerProtocolError(peer, "it ended the answer before its head")
    except h11.RemoteProtocolError as exc:
        raise PeerProtocolError(peer, f"no HTTP answer: {exc}") from exc
    rest, _ = connection.trailing_data
    length = dict(event.headers).get(b"content-length", b"0" if event.status_code in _BODYLESS else None)
    if length is None:
        raise PeerProtocolError(peer, "an answer without Content-Length")
    if len(rest) > int(length):
        raise PeerProtocolError(peer, "more bytes than Content-Length says")
    return PeerResponse(event, rest, int(length), sock=sock, nonce=nonce)


async def read_body(response: PeerResponse, *, peer: str) -> bytes:
    """Read the whole small body.

    Raises:
        PeerProtocolError: it is larger than `MAX_BODY_BYTES`, or ends early.
        PeerUnreachableError: the connection broke.
    """
    if response.content_length > MAX_BODY_BYTES:
        raise PeerProtocolError(peer, f"a body of {response.content_length} bytes")
    chunks = [response.head]
    left = response.content_length - len(response.head)
    try:
        while left > 0:
            data = await response.socket.recv(min(left, _READ_BYTES))
            if not data:
                raise PeerProtocolError(peer, f"its answer ended {left} bytes early")
            chunks.append(data)
            left -= len(data)
    except OSError as exc:
        raise PeerUnreachableError(peer, f"the connection broke ({exc.strerror or exc})") from exc
    return b"".join(chunks)
