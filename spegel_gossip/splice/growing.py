"""From an ingest that still grows to a socket: up to its end, then as it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import trio

from spegel_gossip.content import PartialBlob
from spegel_gossip.splice.errors import ClientGoneError, SourceFailedError
from spegel_gossip.splice.outlet import CLIENT_CLOSED_ERRNOS, Outlet

POLL_INTERVAL: Final = 0.02
"""Seconds between two looks whether there is more: a step of 1 MiB takes 8 ms at 1 Gbit/s."""

GROWTH_TIMEOUT: Final = 20.0
"""Seconds without growth after which the answer ends; who reads has its own patience, and a shorter one."""


async def push_growing(
    outlet: Outlet, growing: PartialBlob, offset: int, count: int, *, turn: Callable[[], int]
) -> None:
    """Send bytes of a growing file as they come.

    Pages that were written a moment ago are in memory, so this never waits for the disk.

    Raises:
        SourceFailedError: it was aborted, or has not grown for too long.
        ClientGoneError: the client closed.
        ClientStalledError: the client took nothing for too long.
    """
    stop = offset + count
    give_up_at = trio.current_time() + GROWTH_TIMEOUT
    while offset < stop:
        status = growing.poll()
        if status is None:
            raise SourceFailedError(f"the ingest was given up at {offset}")
        available = min(status.offset, stop) - offset
        if available <= 0:
            if trio.current_time() >= give_up_at:
                raise SourceFailedError(f"the ingest stands at {offset}")
            await trio.sleep(POLL_INTERVAL)
            continue
        size = min(turn(), available)
        await outlet.permit(size)
        try:
            sent = os.sendfile(outlet.fileno(), growing.fileno(), offset, size)
        except BlockingIOError:
            await outlet.wait_writable()
            continue
        except OSError as exc:
            if exc.errno in CLIENT_CLOSED_ERRNOS:
                raise ClientGoneError(f"the client closed: {exc}") from exc
            raise SourceFailedError(f"the ingest cannot be read at {offset}: {exc}") from exc
        offset += sent
        outlet.took(sent)
        give_up_at = trio.current_time() + GROWTH_TIMEOUT
        await trio.lowlevel.checkpoint()
