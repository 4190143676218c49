"""Two hops over real sockets: holder, this node's fetcher and pump, the client of its HTTP server."""

import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from prometheus_client import REGISTRY

from shell.transfer.bench import Blob, ScriptHolder, ServeStore
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Peer
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.extension import find_send_blob
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, TableRouter
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher

SIZE = 3_000_007


class Mirror:
    """The least that a registry does: open, announce the length, send."""

    def __init__(self, fetcher: PeerBlobFetcher) -> None:
        self.port = 0
        self.deliveries: list[Delivery] = []
        self._fetcher = fetcher

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        stream = await self._fetcher.open(Digest.parse(scope["path"].lstrip("/")))
        headers = [(b"content-length", b"%d" % stream.size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        send_blob = find_send_blob(scope)
        assert send_blob is not None
        self.deliveries.append(await send_blob(stream, 0, stream.size))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
async def mirror(fetcher: PeerBlobFetcher, running: trio.Nursery) -> AsyncIterator[Mirror]:
    mirror = Mirror(fetcher)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    mirror.port = listeners[0].socket.getsockname()[1]
    pump = Pump()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(mirror, listeners, ServerConfig(), pump=pump, task_status=task_status)

    await running.start(run)
    yield mirror
    pump.close()


def dying(data: bytes, given: int, then: Then) -> Callable[[str], RawAnswer]:
    return lambda head: RawAnswer(200, {"Content-Length": str(len(data))}, data[:given], then)


async def download(port: int, digest: Digest) -> tuple[bytes, bool]:
    """Return what came, and whether it was cut; raises where it was reset."""
    client = await HttpClient.connect(port)
    reply = await client.ask(f"/{digest}")
    await client.aclose()
    return reply.body, reply.is_cut


@pytest.mark.parametrize("then", list(Then))
async def test_a_pull_outlives_the_death_of_its_source(
    then: Then,
    mirror: Mirror,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    blob: Blob,
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(SIZE))
    first = script_holder("first", dying(blob(SIZE), 1_000_000, then))
    router.name_holders([first.peer, await serve_store("second", store)])

    assert await download(mirror.port, digest) == (blob(SIZE), False)


async def test_one_connection_carries_blob_after_blob(
    mirror: Mirror, router: TableRouter, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digests = [store.add_blob(blob(size)) for size in (SIZE, 1, 70_000)]
    router.name_holders([await serve_store("a", store)])
    client = await HttpClient.connect(mirror.port)

    bodies = [(await client.ask(f"/{digest}")).body for digest in digests]
    await client.aclose()

    assert bodies == [blob(SIZE), blob(1), blob(70_000)]


@pytest.mark.parametrize("then", list(Then))
async def test_when_every_source_died_the_client_reads_an_end_short_of_the_length(
    then: Then, mirror: Mirror, router: TableRouter, script_holder: ScriptHolder, blob: Blob
) -> None:
    router.name_holders([script_holder("only", dying(blob(SIZE), 500_000, then)).peer])

    body, is_cut = await download(mirror.port, Digest.of(blob(SIZE)))

    assert is_cut
    assert blob(SIZE).startswith(body)
    assert mirror.deliveries[0].ending is Ending.SOURCE_FAILED
    if then is not Then.RESET:
        assert len(body) == 500_000


async def test_a_client_that_closes_early_lets_go_of_the_source(
    mirror: Mirror, router: TableRouter, serve_store: ServeStore, blob: Blob
) -> None:
    large = blob(24 << 20)
    store = MemoryStore()
    digest = store.add_blob(large)
    router.name_holders([await serve_store("a", store)])
    with socket.create_connection(("127.0.0.1", mirror.port)) as sock:
        sock.sendall(f"GET /{digest} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode())
        await trio.to_thread.run_sync(sock.recv, 4096)

    while not router.transfers:
        await trio.lowlevel.checkpoint()

    holder, moved = router.transfers[0]
    assert holder == "a"
    assert moved < len(large)
    assert router.unreachable == []  # the holder is not to blame
    assert await download(mirror.port, digest) == (large, False)


async def test_nothing_is_counted_as_in_flight_once_everything_has_ended(
    mirror: Mirror,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    dead_peer: Peer,
    blob: Blob,
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(SIZE))
    before = in_flight()
    first = script_holder("first", dying(blob(SIZE), 1000, Then.CLOSE))
    router.name_holders([dead_peer, first.peer, await serve_store("second", store)], [dead_peer])

    await download(mirror.port, digest)
    await download(mirror.port, Digest.of(b"nobody has this"))
    while in_flight() != before:
        await trio.lowlevel.checkpoint()

    assert in_flight() == before


class TestUnderLoad:
    @pytest.fixture
    def config(self) -> TransferConfig:
        # The patience of a real node, and threefold: all of this runs in one process.
        return TransferConfig(first_byte_timeout=6, stall_timeout=6)

    async def test_sixty_four_pulls_at_once_all_arrive(
        self, mirror: Mirror, router: TableRouter, serve_store: ServeStore, blob: Blob
    ) -> None:
        store = MemoryStore()
        digest = store.add_blob(blob(SIZE))
        router.name_holders([await serve_store("a", store)])
        arrived: list[bool] = []

        async def one() -> None:
            arrived.append(await download(mirror.port, digest) == (blob(SIZE), False))

        async with trio.open_nursery() as pulls:
            for _ in range(64):
                pulls.start_soon(one)

        assert arrived == [True] * 64


def in_flight() -> list[float | None]:
    name = "spegel_gossip_transfer_in_flight"
    return [REGISTRY.get_sample_value(name, {"direction": way}) or 0 for way in ("sent", "received")]
