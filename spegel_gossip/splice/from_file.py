"""From a file to a socket, turn by turn: on the loop what is in memory, in a thread what is on the disk."""

from __future__ import annotations

import os
from contextlib import suppress

import trio

from spegel_gossip.splice.errors import ClientGoneError, SourceFailedError
from spegel_gossip.splice.outlet import CLIENT_CLOSED_ERRNOS, Outlet
from spegel_gossip.splice.residency import WINDOW, Residency


class Disk:
    """What all who send files share: the threads that may wait, and what is known to be in memory."""

    def __init__(self, threads: int) -> None:
        """Let so many threads wait for the disk at once."""
        self.threads = trio.CapacityLimiter(threads)
        self.residency = Residency()


class FileSender:
    """One file on its way to one outlet."""

    def __init__(self, outlet: Outlet, fd: int, offset: int, disk: Disk) -> None:
        """Send nothing yet.

        Args:
            outlet: where to
            fd: of a regular file
            offset: where sending begins
            disk: shared by all who send files
        """
        self._outlet = outlet
        self._fd = fd
        self.residency = disk.residency.file(fd)
        """What is known of the file's place in the page cache."""

        self._permitted_until = offset
        self._disk = disk

    async def send(self, offset: int, available: int, *, turn: int) -> int:
        """Send some of the `available` bytes at `offset`, let others have the loop, return how many went.

        Args:
            offset: where the last turn ended
            available: bytes that the file has from there, at least 1
            turn: how many the loop may be held for

        Returns:
            0 if the file ends at `offset`.

        Raises:
            SourceFailedError: it cannot be read.
            ClientGoneError: the client closed.
            ClientStalledError: the client took nothing for too long.
        """
        while True:
            is_cold = not self.residency.covers(
                offset, min(turn, available), stop=offset + available, now=trio.current_time()
            )
            # Who waits in a thread keeps nobody waiting, so it may as well get a window at once.
            size = min(self._outlet.turn(WINDOW if is_cold else turn), available)
            await self._permit(offset + size)
            try:
                sent = await self._send_cold(offset, size) if is_cold else self._send(offset, size)
            except BlockingIOError:
                await self._outlet.wait_writable()
                continue
            except OSError as exc:
                if exc.errno in CLIENT_CLOSED_ERRNOS:
                    raise ClientGoneError(f"the client closed: {exc}") from exc
                raise SourceFailedError(f"the blob's file cannot be read at {offset}: {exc}") from exc
            self._outlet.took(sent)
            if 0 < sent < size:
                # A short turn means a full socket, and waiting for that is a checkpoint too.
                await self._outlet.wait_writable()
            else:
                await trio.lowlevel.checkpoint()
            return sent

    async def _permit(self, until: int) -> None:
        # What the socket did not take is not counted against the rate again.
        if until > self._permitted_until:
            await self._outlet.permit(until - self._permitted_until)
            self._permitted_until = until

    def _send(self, offset: int, size: int) -> int:
        return os.sendfile(self._outlet.fileno(), self._fd, offset, size)

    async def _send_cold(self, offset: int, size: int) -> int:
        return await trio.to_thread.run_sync(
            _send_cold, self._outlet.fileno(), self._fd, offset, size, limiter=self._disk.threads
        )


def _send_cold(out: int, fd: int, offset: int, size: int) -> int:
    # The whole stretch is asked for before its first page is waited for, and the next one with it:
    # by the time the loop asks, that is in memory.
    with suppress(OSError):  # advice is only advice
        os.posix_fadvise(fd, offset, 2 * size, os.POSIX_FADV_WILLNEED)
    return os.sendfile(out, fd, offset, size)
