import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from shell.stores.descriptors import descriptors_below
from spegel_gossip.stores.files.readers import FileReader


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[FileReader]:
    path = tmp_path / "blob"
    path.write_bytes(b"the bytes of a layer")
    reader = FileReader(os.open(path, os.O_RDONLY), path.stat().st_size)
    yield reader
    await reader.aclose()


async def test_a_read_that_is_given_up_before_its_thread_begins_keeps_no_descriptor(
    reader: FileReader, tmp_path: Path
) -> None:
    await reader.read_at(0, 3)
    before = descriptors_below(tmp_path)
    assert before == 1
    threads = trio.to_thread.current_default_thread_limiter()
    with trio.CancelScope() as client:
        client.cancel()
        await reader.read_at(0, 10)
    tokens, threads.total_tokens = threads.total_tokens, 1
    try:
        await threads.acquire()
        with trio.CancelScope() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read_at, 0, 10)
                await trio.testing.wait_all_tasks_blocked()
                client.cancel()
        threads.release()
    finally:
        threads.total_tokens = tokens

    assert descriptors_below(tmp_path) == before
    assert await reader.read_at(4, 5) == b"bytes"
    assert descriptors_below(tmp_path) == before
