"""Small helpers over raw trio sockets, shared by server and client."""

from __future__ import annotations

import errno
import socket

import trio

from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address

FAREWELL_TIMEOUT = 1.0
"""Seconds a peer is given to close its side after we closed ours."""

FAREWELL_BYTES = 16 * 1024 * 1024
"""Unread input thrown away meanwhile, so that our close is a FIN: the largest body that may be under way."""

_READ_BYTES = 64 * 1024

GONE = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EBADF}
)
"""What a socket answers when the other end is no longer there."""


async def send_all(sock: trio.socket.SocketType, data: bytes, *, flags: int = 0) -> None:
    """Send every byte, with the flags of send(2)."""
    rest = memoryview(data)
    while rest:
        rest = rest[await sock.send(rest, flags) :]


async def close_gently(sock: trio.socket.SocketType) -> None:
    """Close with FIN, never RST; also when cancelled, within `FAREWELL_TIMEOUT`.

    Linux answers a close with unread input by RST, which makes the other end throw
    away what we sent last. So our side is closed first and the input read off.
    """
    try:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL_TIMEOUT):
            sock.shutdown(socket.SHUT_WR)
            left = FAREWELL_BYTES
            while left > 0:
                data = await sock.recv(_READ_BYTES)
                if not data:
                    break
                left -= len(data)
    except OSError:
        pass  # the other end closed first, or harder
    finally:
        sock.close()


def without_delay(sock: trio.socket.SocketType) -> None:
    """Send small answers at once: there is nothing they could be joined with."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def address_of(name: tuple[object, ...]) -> Address | None:
    """Return a socket's peer name as an address; None for a forged port 0."""
    try:
        return Address.make(str(name[0]), int(str(name[1])))
    except ConfigError:
        return None
