"""From a peer's socket to a client's, through a pipe, without passing through Python.

Where splice does not work (a sandbox that forbids it, a socket type that lacks it) the same
bytes are received and sent; that choice is made once, here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import trio

from spegel_gossip.fetching import Segment
from spegel_gossip.splice.errors import ClientGoneError
from spegel_gossip.splice.inlet import Inlet
from spegel_gossip.splice.outlet import Outlet
from spegel_gossip.splice.pipes import Pipe, PipePool

SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

UNSUPPORTED_ERRNOS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What splice says when it cannot be used at all."""

COPY_CHUNK = 256 << 10
"""Bytes received at once where splice cannot be used."""


class Conduit:
    """Moves segments to outlets; owns the pipes."""

    def __init__(self, turn: Callable[[], int], *, splice: Callable[..., int] = os.splice) -> None:
        """Take what says how many bytes a transfer may move before others get the loop.

        Args:
            turn: says it
            splice: the system call; the first time it answers that it cannot be used
                here is the last time it is asked
        """
        self._turn = turn
        self._splice_call = splice
        self._can_splice = True
        self._pipes = PipePool()

    async def move(self, segment: Segment, outlet: Outlet, count: int) -> None:
        """Move up to `count` bytes; returns early when the source ends, fails or stalls.

        Raises:
            ClientGoneError: the client closed.
            ClientStalledError: the client took nothing for too long.
        """
        stop = outlet.moved + count
        inlet = Inlet(segment)
        if self._can_splice and count:
            with self._pipes.lend() as pipe:
                await self._splice(inlet, outlet, stop, pipe)
        if not self._can_splice:
            await self._copy(inlet, outlet, stop)

    def close(self) -> None:
        """Release the idle pipes."""
        self._pipes.close()

    async def _splice(self, inlet: Inlet, outlet: Outlet, stop: int, pipe: Pipe) -> None:
        source = inlet.fileno()
        since_checkpoint = 0
        while outlet.moved < stop:
            turn = self._turn()
            try:
                filled = self._splice_call(
                    source, pipe.writer, min(turn, pipe.capacity, stop - outlet.moved), flags=SPLICE_FLAGS
                )
            except BlockingIOError:
                since_checkpoint = 0
                if await inlet.wait(until=outlet.give_up_at):
                    continue
                return
            except OSError as exc:
                # Every other error is the source's: the pipe is empty and ours.
                self._can_splice = exc.errno not in UNSUPPORTED_ERRNOS
                return
            if filled == 0:
                return
            pipe.pending = filled
            inlet.gave(filled)
            await self._drain(pipe, outlet)
            since_checkpoint += filled
            if since_checkpoint >= turn:
                since_checkpoint = 0
                await trio.lowlevel.checkpoint()
                if not inlet.goes_on():
                    return

    async def _drain(self, pipe: Pipe, outlet: Outlet) -> None:
        # To the last byte before the pipe is filled again: else EAGAIN on filling could mean
        # a full pipe as well as a silent source, and bytes could be left behind at the end.
        while pipe.pending:
            try:
                moved = self._splice_call(pipe.reader, outlet.fileno(), pipe.pending, flags=SPLICE_FLAGS)
            except BlockingIOError:
                await outlet.wait_writable()
                continue
            except OSError as exc:
                raise ClientGoneError(f"the client closed: {exc}") from exc
            pipe.pending -= moved
            outlet.took(moved)

    async def _copy(self, inlet: Inlet, outlet: Outlet, stop: int) -> None:
        while outlet.moved < stop:
            data = await inlet.receive(min(COPY_CHUNK, stop - outlet.moved), until=outlet.give_up_at)
            if not data:
                return
            await outlet.write(data)
            if not inlet.goes_on():
                return
