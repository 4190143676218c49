"""The end of idle connections: one task for the life of each, where Hypercorn starts one per request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import Event


class IdleWatch:
    """Stands for Hypercorn's `TrioSingleTask`: ends the connection when nothing was asked for too long."""

    def __init__(self, patience: float, terminated: Event, end: Callable[[], Awaitable[None]]) -> None:
        """Watch nothing yet.

        Args:
            patience: seconds that a connection may be idle
            terminated: set when the server stops; then an idle connection ends at once
            end: ends the connection
        """
        self._patience = patience
        self._terminated = terminated
        self._end = end
        self._is_idle = False
        self._due_at = 0.0
        self._watching: trio.CancelScope | None = None

    async def restart(self, task_group: TaskGroup, action: Callable[..., Any]) -> None:  # noqa: ARG002 - Hypercorn's signature
        """Take note that the connection is idle from now on."""
        self._is_idle = True
        self._due_at = trio.current_time() + self._patience
        if self._watching is None:
            self._watching = trio.CancelScope()
            task_group.spawn(self._watch, self._watching)

    async def stop(self) -> None:
        """Take note that something was asked."""
        self._is_idle = False

    def close(self) -> None:
        """End the watch, with the connection."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                with trio.move_on_at(self._due_at):
                    await self._terminated.wait()
                now = trio.current_time()
                if not self._is_idle:
                    if self._terminated.is_set():
                        return  # Hypercorn ends it after its answer
                    self._due_at = now + self._patience
                elif self._terminated.is_set() or self._due_at <= now:
                    break
        if not scope.cancelled_caught:
            with trio.CancelScope(shield=True):
                await self._end()
