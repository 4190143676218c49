import base64
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest
import trio

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Peer
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.splice.pump import Pump
from spegel_gossip.swim.address import Address
from spegel_gossip.testing.holders import RawAnswer, ScriptedHolder, TableRouter
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.server import TransferServer
from spegel_gossip.transfer.tail import Place
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring, new_key
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets

KEYRING = Keyring((base64.b64decode(new_key()),))


def credentials(name: str) -> Credentials:
    return Credentials(name=name, boot=1, cluster="test", keyring=KEYRING)


@pytest.fixture
def blob() -> Callable[[int], bytes]:
    return lambda size: random.Random(size).randbytes(size)


@pytest.fixture
def stack() -> ExitStack:
    return ExitStack()


@pytest.fixture
async def running(stack: ExitStack) -> AsyncIterator[trio.Nursery]:
    with stack:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()


@pytest.fixture
def router() -> TableRouter:
    return TableRouter()


@pytest.fixture
def config() -> TransferConfig:
    # A stall is what a node takes for one: less, and a healthy holder that shares the loop is blamed.
    return TransferConfig(first_byte_timeout=1.0)


@pytest.fixture
async def client(running: trio.Nursery) -> AsyncIterator[PeerClient]:
    client = PeerClient(credentials("asker"), clock=time.time)
    yield client
    client.close()


@pytest.fixture
def fetcher(router: TableRouter, client: PeerClient, config: TransferConfig) -> PeerBlobFetcher:
    return PeerBlobFetcher(router, client, config)


@pytest.fixture
async def serve_store(
    running: trio.Nursery, stack: ExitStack, config: TransferConfig
) -> Callable[..., Awaitable[Peer]]:
    async def start(
        name: str,
        store: ContentStore,
        place_of: Place | None = None,
        *,
        max_partial_uploads: int = 8,
        is_given_up: Callable[[Digest, int], bool] = lambda _digest, _offset: False,
    ) -> Peer:
        sockets = open_peer_sockets("127.0.0.1", 0)
        stack.callback(sockets.close)
        server = PeerServer(sockets.tcp, credentials(name), clock=time.time)
        limits = replace(config, max_partial_uploads=max_partial_uploads)
        TransferServer(store, server, limits, pump=Pump(), place_of=place_of, is_given_up=is_given_up)
        await running.start(server.run)
        return Peer(name, "", (Address("127.0.0.1", sockets.port),))

    return start


@pytest.fixture
async def script_holder(
    running: trio.Nursery, stack: ExitStack
) -> Callable[[str, Callable[[str], RawAnswer | None]], ScriptedHolder]:
    def start(name: str, answer: Callable[[str], RawAnswer | None]) -> ScriptedHolder:
        holder = ScriptedHolder(name, answer)
        stack.callback(holder.close)
        running.start_soon(holder.run)
        return holder

    return start


@pytest.fixture
def dead_peer() -> Peer:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return Peer("dead", "", (Address("127.0.0.1", port),))


@pytest.fixture
def consume() -> Callable[[BlobStream], Awaitable[tuple[Delivery, bytes]]]:
    async def read(stream: BlobStream) -> tuple[Delivery, bytes]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        received = bytearray()
        deliveries = []

        async def send() -> None:
            with trio.socket.from_stdlib_socket(near) as sock:
                count = stream.stop - stream.start
                deliveries.append(await Pump().send_stream(sock, stream, stream.start, count))

        with trio.socket.from_stdlib_socket(far) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while data := await sock.recv(256 << 10):
                    received += data
        return deliveries[0], bytes(received)

    return read
