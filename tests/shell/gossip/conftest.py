from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from shell.gossip.nodes import Nodes


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            yield Nodes(nursery, stack, tmp_path)
            nursery.cancel_scope.cancel()
