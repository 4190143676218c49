"""The receiving end of a transfer: a client's socket that counts what it took.

Everything that can fail on the client's side fails here, as `ClientGoneError` or
`ClientStalledError`, so that it is never taken for a failing source.
"""

from __future__ import annotations

import errno
import select
from typing import Protocol

import trio

from spegel_gossip.splice.errors import ClientGoneError, ClientStalledError
from spegel_gossip.splice.throttle import Throttle

CLIENT_CLOSED_ERRNOS = frozenset(
    {
        errno.EBADF,  # closed by another task of ours: trio gives a closed socket the descriptor -1
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)
"""What sendfile says when the socket, not the file, is at fault."""


class Meter(Protocol):
    """Somebody who measures what is sent to other nodes, and how full the way there is."""

    def sent(self, count: int, now: float) -> None:
        """Take in that bytes were taken by the kernel."""

    def wait_began(self, now: float) -> None:
        """Take in that there is more to send than the kernel takes now."""

    def wait_ended(self, now: float) -> None:
        """Take in that it takes more again, or that nobody waits for that any longer."""


class Outlet:
    """A client's socket for the length of one body."""

    def __init__(
        self,
        sock: trio.socket.SocketType,
        *,
        progress_timeout: float,
        throttle: Throttle | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Begin to count.

        Args:
            sock: the client's
            progress_timeout: seconds without a byte taken after which it is given up
            throttle: bounds the rate, together with that of others
            meter: learns what is sent, and when there was more to send than the socket took
        """
        self._meter = meter
        self.moved = 0
        self._throttle = throttle
        self._sock = sock
        self._progress_timeout = progress_timeout
        self._progress_at = trio.current_time()

    @property
    def give_up_at(self) -> float:
        """When the transfer is given up unless a byte moves before (trio's clock)."""
        return self._progress_at + self._progress_timeout

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once it was closed."""
        return self._sock.fileno()

    def turn(self, usual: int) -> int:
        """Return how many bytes to send at once: less than usual where others wait for the same rate."""
        return usual if self._throttle is None else min(usual, self._throttle.turn)

    async def permit(self, count: int) -> None:
        """Wait until the rate allows so many bytes; no time is held against anybody meanwhile."""
        if self._throttle is not None:
            await self._throttle.take(count)
            self._progress_at = trio.current_time()

    def took(self, count: int) -> None:
        """Count bytes that the kernel accepted for the client."""
        self.moved += count
        self._progress_at = trio.current_time()
        if self._meter is not None:
            self._meter.sent(count, self._progress_at)

    def check_open(self) -> None:
        """Look whether the client is still there, while there is nothing to send.

        Raises:
            ClientGoneError: it closed.
        """
        poller = select.poll()
        try:
            poller.register(self._sock.fileno(), select.POLLRDHUP)
            has_ended = bool(poller.poll(0))
        except (OSError, ValueError) as exc:
            raise ClientGoneError(f"the client closed: {exc}") from exc
        if has_ended:
            raise ClientGoneError("the client closed")

    async def wait_writable(self) -> None:
        """Wait until the socket takes more.

        Raises:
            ClientGoneError: it was closed meanwhile.
            ClientStalledError: it took nothing within the progress timeout.
        """
        if self._meter is not None:
            self._meter.wait_began(trio.current_time())
        try:
            await self._wait_writable()
        finally:
            if self._meter is not None:
                self._meter.wait_ended(trio.current_time())

    async def _wait_writable(self) -> None:
        # Counted from here: what the source took before is no fault of the client.
        with trio.move_on_after(self._progress_timeout):
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except (trio.ClosedResourceError, OSError, ValueError) as exc:
                raise ClientGoneError("the client's socket was closed") from exc
            return
        raise ClientStalledError(f"the client took nothing for {self._progress_timeout:g} s")

    async def write(self, data: bytes | memoryview, *, flags: int = 0) -> None:
        """Send bytes that are already in this process, with the flags of send(2).

        Raises:
            ClientGoneError: the client closed.
            ClientStalledError: it took nothing within the progress timeout.
        """
        rest = memoryview(data)
        while rest:
            sent = 0
            with trio.move_on_after(self._progress_timeout):
                try:
                    sent = await self._sock.send(rest, flags)
                except (trio.ClosedResourceError, OSError) as exc:
                    raise ClientGoneError(f"the client closed: {exc}") from exc
            if sent == 0:
                raise ClientStalledError(f"the client took nothing for {self._progress_timeout:g} s")
            self.took(sent)
            rest = rest[sent:]
