import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

Pair = tuple[trio.socket.SocketType, trio.socket.SocketType]


@pytest.fixture
async def tcp_pair() -> AsyncIterator[Callable[[], Awaitable[Pair]]]:
    opened: list[trio.socket.SocketType] = []

    async def connect() -> Pair:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        await trio.lowlevel.checkpoint()
        pair = trio.socket.from_stdlib_socket(near), trio.socket.from_stdlib_socket(far)
        opened.extend(pair)
        return pair

    yield connect
    for sock in opened:
        sock.close()


@pytest.fixture
def blob() -> Callable[[int], bytes]:
    return lambda size: random.Random(size).randbytes(size)
