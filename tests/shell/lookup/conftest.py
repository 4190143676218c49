from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import trio

from shell.lookup.nodes import Nodes
from shell.wire.endpoints import make_keyring


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            yield Nodes(nursery, stack, make_keyring())
            nursery.cancel_scope.cancel()
