"""Pipes to splice through: a bounded pool of empty ones.

Linux copies from socket to socket only by way of a pipe. Making one and growing it
costs three system calls, so a drained pipe is kept for the next transfer. One that
still holds bytes is never reused: they would go out in somebody else's body.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

PIPE_SIZES = (1 << 20, 256 << 10)
"""Bytes asked for, in turn. Beyond 64 MiB of pipes per user F_SETPIPE_SZ answers EPERM."""

MAX_IDLE_PIPES = 16
"""Drained pipes kept: 16 MiB at most, and only of address space while they are empty."""


class Pipe:
    """One pipe; `pending` bytes lie in it."""

    def __init__(self) -> None:
        """Open it, as large as the kernel lets us."""
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending = 0
        for size in PIPE_SIZES:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, size)
                break
        self.capacity = fcntl.fcntl(self.writer, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends, with whatever lies between them."""
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """The idle pipes of one pump."""

    def __init__(self, *, max_idle: int = MAX_IDLE_PIPES) -> None:
        """Start empty; pipes are made when they are needed."""
        self._idle: list[Pipe] = []
        self._max_idle = max_idle

    @contextlib.contextmanager
    def lend(self) -> Iterator[Pipe]:
        """Lend an empty pipe; it comes back only if it is empty again."""
        pipe = self._idle.pop() if self._idle else Pipe()
        try:
            yield pipe
        finally:
            if pipe.pending == 0 and len(self._idle) < self._max_idle:
                self._idle.append(pipe)
            else:
                pipe.close()

    def close(self) -> None:
        """Close the idle pipes."""
        while self._idle:
            self._idle.pop().close()
