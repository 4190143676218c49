"""A pump of one or two threads with an epoll each: the rival of the loop in `benchmarks/pump.py`.

No more of a pump than the comparison needs: no patience, no throttle, no other sources, no way to cancel,
all of which would only add to what it costs.
"""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

import trio

from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.pipes import Pipe
from spegel_gossip.splice.residency import Residency

TURN_BUDGET = PumpConfig().turn_budget
RESIDENCY = Residency()
MAX_TURN, MIN_TURN = 1 << 20, 64 << 10
FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class _Job:
    """One body on its way; `step` moves a turn of it and returns which descriptor it waits for."""

    def __init__(self, count: int, done: Callable[[], None]) -> None:
        self.left = count
        self.done = done

    def step(self, turn: int) -> int:
        raise NotImplementedError


class FileJob(_Job):
    """From a file."""

    def __init__(self, out: int, fd: int, count: int, done: Callable[[], None]) -> None:
        super().__init__(count, done)
        self._out, self._fd, self._offset = out, fd, 0
        self._residency = RESIDENCY.file(fd)

    def step(self, turn: int) -> int:
        """Send a turn."""
        # All is in memory here; but a thread that other transfers wait for has to ask, as the loop has.
        stop = self._offset + self.left
        self._residency.covers(self._offset, min(turn, self.left), stop=stop, now=time.monotonic())
        try:
            sent = os.sendfile(self._out, self._fd, self._offset, min(turn, self.left))
        except BlockingIOError:
            return self._out
        self._offset += sent
        self.left -= sent
        return self._out


class SpliceJob(_Job):
    """From another socket, through a pipe that is drained before it is filled again."""

    def __init__(self, out: int, source: int, count: int, done: Callable[[], None]) -> None:
        super().__init__(count, done)
        self._out, self._source, self._pipe = out, source, Pipe()

    def step(self, turn: int) -> int:
        """Move a turn, filling and draining until one side has no more or takes no more."""
        pipe, moved = self._pipe, 0
        while moved < turn and self.left:
            try:
                if pipe.pending == 0:
                    pipe.pending = os.splice(
                        self._source, pipe.writer, min(turn, pipe.capacity, self.left), flags=FLAGS
                    )
            except BlockingIOError:
                return self._source
            try:
                sent = os.splice(pipe.reader, self._out, pipe.pending, flags=FLAGS)
            except BlockingIOError:
                return self._out
            pipe.pending -= sent
            self.left -= sent
            moved += sent
        if not self.left:
            pipe.close()
        return self._out if pipe.pending else self._source


class EpollThread:
    """One thread and the jobs it was given."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._new: deque[tuple[_Job, int]] = deque()
        self._jobs: dict[int, _Job] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, job: _Job, waits_for: int) -> None:
        """Begin a job; called from another thread."""
        self._new.append((job, waits_for))
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                    while self._new:
                        self._watch(*self._new.popleft())
                    continue
                job = self._jobs[fd]
                turn = min(max(TURN_BUDGET // len(self._jobs), MIN_TURN), MAX_TURN)
                waits_for = job.step(turn)
                if job.left and waits_for == fd:
                    continue
                self._epoll.unregister(fd)
                del self._jobs[fd]
                if job.left:
                    self._watch(job, waits_for)
                else:
                    job.done()

    def _watch(self, job: _Job, fd: int) -> None:
        self._jobs[fd] = job
        readable = isinstance(job, SpliceJob) and fd == job._source
        self._epoll.register(fd, select.EPOLLIN if readable else select.EPOLLOUT)


class ThreadPump:
    """Spreads jobs over its threads."""

    def __init__(self, threads: int) -> None:
        self._next = itertools.cycle([EpollThread() for _ in range(threads)])

    async def send_file(self, out: int, fd: int, count: int) -> None:
        """Send the beginning of a file."""
        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        job = FileJob(out, fd, count, lambda: token.run_sync_soon(done.set))
        next(self._next).add(job, out)
        await done.wait()

    async def send_from(self, out: int, source: int, count: int) -> None:
        """Send what comes from another socket."""
        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        job = SpliceJob(out, source, count, lambda: token.run_sync_soon(done.set))
        next(self._next).add(job, source)
        await done.wait()
