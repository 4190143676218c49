"""From an ingest that still grows to a socket: up to its end, then as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from spegel_gossip.content import PartialBlob
from spegel_gossip.splice.errors import SourceFailedError
from spegel_gossip.splice.from_file import Disk, FileSender
from spegel_gossip.splice.outlet import Outlet

POLL_INTERVAL: Final = 0.02
"""Seconds between two looks whether there is more: a step of 1 MiB takes 8 ms at 1 Gbit/s."""

GROWTH_TIMEOUT: Final = 20.0
"""Seconds without growth after which the answer ends; who reads has its own patience, and a shorter one."""


async def push_growing(
    outlet: Outlet,
    growing: PartialBlob,
    offset: int,
    count: int,
    *,
    turn: Callable[[], int],
    disk: Disk,
    is_over: Callable[[int], bool],
) -> None:
    """Send bytes of a growing file as they come, and once no more come, all that are there.

    What was written a moment ago is in memory; what an earlier pull left behind need not be.

    Args:
        outlet: where to
        growing: the file
        offset: of the first byte
        count: bytes
        turn: how many of them at once
        disk: reads what is not in memory
        is_over: whether nobody need wait for more than so many bytes

    Raises:
        SourceFailedError: it was aborted, or has not grown for too long.
        ClientGoneError: the client closed.
        ClientStalledError: the client took nothing for too long.
    """
    stop = offset + count
    sender = FileSender(outlet, growing.fileno(), offset, disk)
    give_up_at = trio.current_time() + GROWTH_TIMEOUT
    while offset < stop:
        status = growing.poll()
        if status is None:
            raise SourceFailedError(f"the ingest was given up at {offset}")
        available = min(status.offset, stop) - offset
        if available <= 0:
            if is_over(status.offset):
                raise SourceFailedError(f"nobody sends more of the ingest than {status.offset} bytes")
            if trio.current_time() >= give_up_at:
                raise SourceFailedError(f"the ingest stands at {offset}")
            # Nothing is sent now, so nothing else would show it, and its place is wanted by others.
            outlet.check_open()
            await trio.sleep(POLL_INTERVAL)
            continue
        offset += await sender.send(offset, available, turn=turn())
        give_up_at = trio.current_time() + GROWTH_TIMEOUT
