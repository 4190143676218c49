from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import trio

from shell.wire.endpoints import Endpoints, make_keyring
from spegel_gossip.wire.keyring import Keyring


@pytest.fixture
async def endpoints() -> AsyncIterator[Endpoints]:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            yield Endpoints(nursery, stack)
            nursery.cancel_scope.cancel()


@pytest.fixture(params=["sealed", "plaintext"])
def keyring(request: pytest.FixtureRequest) -> Keyring | None:
    return make_keyring() if request.param == "sealed" else None


@pytest.fixture
def unused_port() -> int:
    """A port that was free just now, and that the kernel will not give away at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
