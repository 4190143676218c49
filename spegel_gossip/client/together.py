"""A few things at a time, and one failure out of them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from spegel_gossip.errors import SpegelGossipError

Job = tuple[Callable[..., Awaitable[None]], *tuple[Any, ...]]
"""An async function and its arguments."""


async def run_together(jobs: Sequence[Job], *, at_once: int) -> None:
    """Run jobs in their order, at most `at_once` of them at a time; the first failure ends all.

    Raises:
        SpegelGossipError: that failure, out of the group in which a nursery wraps it. A
            group in which there is anything else, a bug or Ctrl-C, is raised as it is.
    """
    waiting = iter(jobs)

    async def work() -> None:
        for function, *arguments in waiting:
            await function(*arguments)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(min(at_once, len(jobs))):
                nursery.start_soon(work)
    except BaseExceptionGroup as group:
        foreseen, others = group.split(SpegelGossipError)
        if foreseen is None or others is not None:
            raise
        first: BaseException = foreseen
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from group
