from __future__ import annotations

import socket
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


@pytest.fixture
def unused_port() -> int:
    """A port that was free just now, and that the kernel will not give away at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
