from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import trio

from shell.prefetch.nodes import Nodes


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            yield Nodes(nursery, stack)
            nursery.cancel_scope.cancel()
