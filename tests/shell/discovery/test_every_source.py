"""What every source of seeds must do, whatever it asks: it may be away, and it comes back."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from kubernetes.client import Configuration

from shell.discovery import api_server as api
from shell.discovery.test_srv import NameServer, replying
from spegel_gossip.discovery.dns import DnsSeeds
from spegel_gossip.discovery.kubernetes import KubernetesSeeds
from spegel_gossip.discovery.seeds import Seeds
from spegel_gossip.discovery.source import DiscoveryError, SeedName, SeedSource
from spegel_gossip.discovery.srv import SrvSeeds
from spegel_gossip.discovery.static import StaticSeed
from spegel_gossip.swim.address import Address

PORT = 29501
SEED = Address("10.0.0.1", PORT)
OTHER = Address("10.0.0.9", PORT)
HOST = "seed.example"


class Known:
    """A source that always answers."""

    name = "known"

    async def find(self) -> Sequence[Address]:
        return [OTHER]


class World:
    """Where the sources ask; `is_up` says whether anything in it answers."""

    def __init__(self) -> None:
        self.is_up = False


class Resolver(trio.abc.HostnameResolver):
    """The C library's resolver, which knows one name while its servers are up."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def getaddrinfo(  # type: ignore[override] # only what is used here
        self,
        host: bytes,
        port: int,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the interface's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        await trio.lowlevel.checkpoint()
        if not self._world.is_up or host.decode() != HOST:
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        return [(socket.AF_INET, type, 0, "", (SEED.host, port))]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError


@asynccontextmanager
async def static(world: World) -> AsyncIterator[SeedSource]:
    trio.socket.set_custom_hostname_resolver(Resolver(world))
    yield StaticSeed(SeedName(HOST, PORT))


@asynccontextmanager
async def dns(world: World) -> AsyncIterator[SeedSource]:
    trio.socket.set_custom_hostname_resolver(Resolver(world))
    yield DnsSeeds(HOST, port=PORT)


@asynccontextmanager
async def srv(world: World) -> AsyncIterator[SeedSource]:
    good = replying((SEED.host, PORT))
    server = NameServer(lambda question: good(question) if world.is_up else b"out of order", None)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        name = "_peers-udp._udp.mirror.svc.cluster.local"
        yield SrvSeeds(name, rng=random.Random(1), servers=lambda: [address])
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def kubernetes(world: World) -> AsyncIterator[SeedSource]:
    with api.running(api.ApiServer()) as server:
        good = api.listing(api.slice_of("peers-x", SEED.host))
        bad = api.body({"kind": "Status"}, 503)
        server.lists = [lambda handler: (good if world.is_up else bad)(handler)]

        def configure(configuration: Configuration) -> None:
            configuration.host = server.url

        seeds = KubernetesSeeds(
            "mirror/peers", port=PORT, rng=random.Random(1), configure=configure, first_back_off=0.01
        )
        yield seeds
        seeds.close()


Make = Callable[[World], AbstractAsyncContextManager[SeedSource]]
SOURCES: list[Make] = [static, dns, srv, kubernetes]


@pytest.mark.parametrize("make", SOURCES)
async def test_a_source_that_is_away_says_so_and_is_found_again(make: Make) -> None:
    world = World()
    async with make(world) as source:
        with trio.fail_after(20), pytest.raises(DiscoveryError) as caught:
            await source.find()
        assert str(caught.value)
        world.is_up = True

        found: Sequence[Address] = ()
        with trio.fail_after(20):
            while not found:
                await trio.sleep(0.01)
                with contextlib.suppress(DiscoveryError):
                    found = await source.find()
        assert list(found) == [SEED]


@pytest.mark.parametrize("make", SOURCES)
async def test_it_is_named_while_it_fails_and_the_others_are_heard(make: Make) -> None:
    world = World()
    async with make(world) as source:
        seeds = Seeds([source, Known()])

        assert await seeds() == (OTHER,)
        assert source.name.startswith("--")
        assert list(seeds.failures) == [source.name]
        world.is_up = True
        found = await seeds()
        with trio.fail_after(20):
            while seeds.failures:
                await trio.sleep(0.01)
                found = await seeds()
        assert found == (SEED, OTHER)
