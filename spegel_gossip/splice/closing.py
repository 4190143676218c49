"""Closing a TCP connection so that the other side reads an end, never a reset.

Linux answers RST, and the receiver loses what it had not read yet, when a socket is closed
with unread input. containerd fails a pull on RST, but resumes it on FIN.
"""

from __future__ import annotations

import contextlib
import socket

import trio

LINGER_TIMEOUT = 1.0
"""Seconds to wait for the other side's FIN after ours; a client that is done sends it at once."""

MAX_DRAINED_BYTES = 1 << 20
"""Unread input thrown away at most; who sends more than this into a closing connection gets the RST."""


def send_fin(sock: trio.socket.SocketType) -> None:
    """Say that nothing more comes; bytes already sent still arrive before it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


async def close_with_fin(sock: trio.socket.SocketType) -> None:
    """Send FIN, read and drop what still comes in, close.

    Finishes within `LINGER_TIMEOUT`, even in a cancelled scope. No other task may be
    reading from the socket.
    """
    send_fin(sock)
    drained = 0
    with (
        trio.move_on_after(LINGER_TIMEOUT, shield=True),
        contextlib.suppress(OSError, trio.ClosedResourceError),
    ):
        while drained < MAX_DRAINED_BYTES:
            data = await sock.recv(64 << 10)
            if not data:
                break
            drained += len(data)
    sock.close()
