"""The sending end of a transfer: a peer's socket, read with the patience its source allows.

Nothing here raises for what a source does. "No bytes" is the one answer, because the
remedy is the same whether it closed, broke or fell silent: ask for the next source.
"""

from __future__ import annotations

import os

import trio

from spegel_gossip.fetching import Segment


async def wait_for_bytes(segment: Segment, *, until: float) -> bool:
    """Wait for the source to send; False when it stalled, was closed, or `until` has come."""
    with trio.move_on_at(min(until, trio.current_time() + segment.stall_timeout)):
        try:
            await trio.lowlevel.wait_readable(segment.fileno())
        except (trio.ClosedResourceError, OSError, ValueError):
            return False
        return True
    return False


async def receive(segment: Segment, count: int, *, until: float) -> bytes:
    """Return up to `count` bytes from the source; empty when it ended, failed or stalled."""
    while True:
        try:
            return os.read(segment.fileno(), count)
        except BlockingIOError:
            if not await wait_for_bytes(segment, until=until):
                return b""
        except OSError:
            return b""
