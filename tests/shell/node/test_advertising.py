from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from spegel_gossip.config import NodeConfig
from spegel_gossip.discovery.seeds import Seeds
from spegel_gossip.discovery.source import SeedName
from spegel_gossip.discovery.static import StaticSeed
from spegel_gossip.errors import ConfigError
from spegel_gossip.node.advertising import FIRST_LOOK, Advertising
from spegel_gossip.swim.address import Address

PORT = 29501
SEED = Address("10.0.0.1", PORT)
LATER = Address("192.168.0.1", PORT)


class NameServer:
    """A source whose answer takes its time."""

    name = "--seed-dns peers"

    def __init__(self, *addresses: Address, seconds: float) -> None:
        self.addresses = addresses
        self.seconds = seconds

    async def find(self) -> Sequence[Address]:
        await trio.sleep(self.seconds)
        return self.addresses


class Node:
    """What one node advertises; it has one address in each network, and a default route unless it is down."""

    def __init__(self, *sources: StaticSeed | NameServer, given: str | None = None) -> None:
        self.is_down = False
        self.told: list[list[str]] = []
        self._advertising = Advertising(
            NodeConfig(plaintext=True, advertise_address=given),
            PORT,
            Seeds(sources),
            on_change=lambda addresses: self.told.append([one.host for one in addresses]),
            source_towards=self._source_towards,
        )

    async def start(self) -> list[str]:
        return [one.host for one in await self._advertising.start()]

    async def find_seeds(self) -> Sequence[Address]:
        return await self._advertising.find_seeds()

    def _source_towards(self, destination: str) -> str | None:
        if self.is_down or ":" in destination:
            return None
        network = destination.rpartition(".")[0]
        return f"{network}.5" if network in {"10.0.0", "192.168.0"} else "203.0.113.5"


async def test_a_slow_name_server_takes_no_static_seed_with_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node = Node(StaticSeed(SeedName(SEED.host, PORT)), NameServer(LATER, seconds=math.inf))
    started_at = trio.current_time()

    assert await node.start() == ["10.0.0.5"]
    assert trio.current_time() - started_at == FIRST_LOOK


async def test_an_address_chosen_without_seeds_is_corrected_once_they_are_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node = Node(NameServer(LATER, seconds=1.5))
    assert await node.start() == ["203.0.113.5"]

    assert await node.find_seeds() == (LATER,)
    assert await node.find_seeds() == (LATER,)

    assert node.told == [["192.168.0.5"]]


async def test_a_network_that_goes_away_for_a_while_is_told_to_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node = Node(NameServer(SEED, seconds=0.0))
    assert await node.start() == ["10.0.0.5"]
    node.is_down = True
    with capture_logs() as lines:
        for _ in range(3):
            assert await node.find_seeds() == (SEED,)
    assert [line["log_level"] for line in lines] == ["warning"]
    node.is_down = False

    await node.find_seeds()

    assert node.told == []


async def test_an_address_that_was_given_stays(autojump_clock: trio.testing.MockClock) -> None:
    node = Node(NameServer(SEED, seconds=0.0), given="198.51.100.1")
    assert await node.start() == ["198.51.100.1"]
    await node.find_seeds()
    assert node.told == []
    with pytest.raises(ConfigError, match="on loopback"):
        await Node(NameServer(SEED, seconds=0.0), given="127.0.0.1").start()
