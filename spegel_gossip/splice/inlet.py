"""The sending end of a transfer: a peer's socket, read with the patience its source allows.

Nothing here raises for what a source does. "No bytes" is the one answer, because the
remedy is the same whether it closed, broke, fell silent or drips: ask for the next source.
"""

from __future__ import annotations

import os

import trio

from spegel_gossip.fetching import Segment

JUDGE_INTERVAL = 0.5
"""Seconds between two judgements of a source's pace."""


class Inlet:
    """A segment while it is read."""

    def __init__(self, segment: Segment) -> None:
        """Begin to count what is read, and for how long it was waited for."""
        self._segment = segment
        self._waited = 0.0
        self._moved = 0
        self._judged_at = trio.current_time()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._segment.fileno()

    def gave(self, count: int) -> None:
        """Count bytes that were read."""
        self._moved += count

    async def wait(self, *, until: float) -> bool:
        """Wait for the source to send; False when it is not to be waited for any more.

        That is: it stalled, was closed, is too slow to go on with, or `until` has come.
        """
        asked_at = trio.current_time()
        with trio.move_on_at(min(until, asked_at + self._segment.stall_timeout)):
            try:
                await trio.lowlevel.wait_readable(self._segment.fileno())
            except (trio.ClosedResourceError, OSError, ValueError):
                return False
            return self._keeps_pace(trio.current_time() - asked_at)
        return False

    async def receive(self, count: int, *, until: float) -> bytes:
        """Return up to `count` bytes from the source; empty when there are no more to be had."""
        while True:
            try:
                data = os.read(self._segment.fileno(), count)
            except BlockingIOError:
                if not await self.wait(until=until):
                    return b""
            except OSError:
                return b""
            else:
                self._moved += len(data)
                return data

    def goes_on(self) -> bool:
        """Return whether to go on, judged now and then where the client is what is waited for too."""
        return trio.current_time() < self._judged_at + JUDGE_INTERVAL or self._is_judged_well()

    def _keeps_pace(self, waited: float) -> bool:
        if waited >= JUDGE_INTERVAL and self._moved and not self._is_judged_well():
            return False
        self._waited += waited
        return self._waited < JUDGE_INTERVAL or self._is_judged_well()

    def _is_judged_well(self) -> bool:
        """Have what was read, and waited for, judged; apart from a long wait that followed it."""
        keeps = self._segment.keeps_pace(waited=self._waited, moved=self._moved)
        self._waited, self._moved, self._judged_at = 0.0, 0, trio.current_time()
        return keeps
