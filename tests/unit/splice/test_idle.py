from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import EventWrapper
from trio.testing import MockClock

from spegel_gossip.splice.idle import IdleWatch

PATIENCE = 75.0


class Connection:
    """What is watched: remembers when it was ended."""

    def __init__(self) -> None:
        self.terminated = EventWrapper()
        self.ended_at: list[float] = []
        self.watch = IdleWatch(PATIENCE, self.terminated, self._end)
        self._tasks = TaskGroup()

    async def idle(self) -> None:
        await self.watch.restart(self._tasks, self._end)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._tasks:
            await self.idle()
            yield
            self.watch.close()

    async def _end(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ended_at.append(trio.current_time())


async def test_a_connection_on_which_nothing_is_asked_is_ended(autojump_clock: MockClock) -> None:
    connection, began = Connection(), trio.current_time()

    async with connection.open():
        await trio.sleep(10 * PATIENCE)

    assert connection.ended_at == [began + PATIENCE]


async def test_each_answer_begins_the_wait_anew(autojump_clock: MockClock) -> None:
    connection, began = Connection(), trio.current_time()

    async with connection.open():
        for _ in range(20):
            await trio.sleep(PATIENCE - 1)
            await connection.watch.stop()
            await connection.idle()
        await trio.sleep(2 * PATIENCE)

    assert connection.ended_at == [began + 20 * (PATIENCE - 1) + PATIENCE]


async def test_an_answer_may_take_longer_than_a_connection_may_be_idle(autojump_clock: MockClock) -> None:
    connection, began = Connection(), trio.current_time()

    async with connection.open():
        await connection.watch.stop()
        await trio.sleep(10 * PATIENCE)
        assert connection.ended_at == []
        await connection.idle()
        await trio.sleep(3 * PATIENCE)

    assert connection.ended_at == [began + 11 * PATIENCE]


async def test_when_the_server_stops_an_idle_connection_ends_at_once(autojump_clock: MockClock) -> None:
    connection = Connection()

    async with connection.open():
        await trio.sleep(1)
        stopped_at = trio.current_time()
        await connection.terminated.set()
        await trio.sleep(1)

    assert connection.ended_at == [stopped_at]


async def test_when_the_server_stops_a_busy_connection_is_left_to_its_answer(
    autojump_clock: MockClock,
) -> None:
    connection = Connection()

    async with connection.open():
        await connection.watch.stop()
        await connection.terminated.set()
        await trio.sleep(10 * PATIENCE)

    assert connection.ended_at == []


async def test_a_closed_watch_ends_nothing(autojump_clock: MockClock) -> None:
    connection = Connection()

    async with connection.open():
        connection.watch.close()
        await trio.sleep(10 * PATIENCE)

    assert connection.ended_at == []
