"""Idle connections to peers, kept for the next request."""

from __future__ import annotations

import select

import trio

from spegel_gossip.swim.address import Address

IDLE_TIMEOUT = 30.0
"""Seconds a connection is kept; below the server's, so that it is rarely closed under us."""

MAX_IDLE_PER_PEER = 4
MAX_IDLE = 256


class ConnectionPool:
    """Sockets on which a whole answer was read, the least recently used first."""

    def __init__(self) -> None:
        self._idle: dict[trio.socket.SocketType, tuple[Address, float]] = {}

    def take(self, address: Address) -> trio.socket.SocketType | None:
        """Return a connection that still looks open, or None."""
        self._expire()
        for sock in reversed([sock for sock, (to, _) in self._idle.items() if to == address]):
            del self._idle[sock]
            if _is_quiet(sock):
                return sock
            sock.close()
        return None

    def put(self, address: Address, sock: trio.socket.SocketType) -> None:
        """Keep a connection."""
        self._idle[sock] = (address, trio.current_time() + IDLE_TIMEOUT)
        same = [other for other, (to, _) in self._idle.items() if to == address]
        if len(same) > MAX_IDLE_PER_PEER:
            self._close(same[0])
        elif len(self._idle) > MAX_IDLE:
            self._close(next(iter(self._idle)))

    def close(self) -> None:
        """Close everything that is idle."""
        for sock in list(self._idle):
            self._close(sock)

    def _expire(self) -> None:
        now = trio.current_time()
        for sock in [sock for sock, (_, expires_at) in self._idle.items() if expires_at <= now]:
            self._close(sock)

    def _close(self, sock: trio.socket.SocketType) -> None:
        del self._idle[sock]
        sock.close()


def _is_quiet(sock: trio.socket.SocketType) -> bool:
    """Whether nothing came: an idle connection that is readable was closed, or the peer is confused."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)
