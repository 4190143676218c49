from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import cast

import pytest
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from spegel_gossip.health import Health
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reach import Reach
from spegel_gossip.registry.app import create_app
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryStore

NOW = 1_700_000_000.0


@pytest.fixture
def filters() -> ContentFilter:
    return ContentFilter()


@pytest.fixture
def config() -> RegistryConfig:
    return RegistryConfig()


@pytest.fixture
def reach() -> Reach:
    return Reach()


@pytest.fixture
def health() -> Health:
    return Health(is_ready=True)


@pytest.fixture
def sends_blobs_itself() -> bool:
    return True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def router() -> MemoryRouter:
    return MemoryRouter()


@pytest.fixture
async def fetcher(nursery: trio.Nursery) -> MemoryFetcher:
    return MemoryFetcher(nursery)


@pytest.fixture
def app(
    store: MemoryStore,
    router: MemoryRouter,
    fetcher: MemoryFetcher,
    health: Health,
    filters: ContentFilter,
    config: RegistryConfig,
    reach: Reach,
    sends_blobs_itself: bool,
) -> ASGIFramework:
    registry = create_app(
        store=store,
        router=router,
        fetcher=fetcher,
        health=lambda: health,
        filters=filters,
        config=config,
        reach=reach,
        wall_clock=lambda: NOW,
    )

    async def without_extension(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            scope["extensions"].clear()
        await registry(scope, receive, send)

    return registry if sends_blobs_itself else without_extension


@pytest.fixture
async def connect(
    nursery: trio.Nursery, app: ASGIFramework
) -> AsyncIterator[Callable[[], Awaitable[HttpClient]]]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = cast("int", listeners[0].socket.getsockname()[1])
    await nursery.start(partial(serve, app, listeners, ServerConfig(), pump=Pump()))
    clients: list[HttpClient] = []

    async def connect() -> HttpClient:
        clients.append(await HttpClient.connect(port))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(connect: Callable[[], Awaitable[HttpClient]]) -> HttpClient:
    return await connect()
