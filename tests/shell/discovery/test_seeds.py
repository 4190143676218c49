from __future__ import annotations

import math
import socket
from collections.abc import Sequence

import pytest
import trio
from structlog.testing import capture_logs

from spegel_gossip.discovery.dns import DnsSeeds
from spegel_gossip.discovery.seeds import FIRST_TIMEOUT, LONGEST_TIMEOUT, Seeds
from spegel_gossip.discovery.source import DiscoveryError, SeedName
from spegel_gossip.discovery.static import StaticSeed
from spegel_gossip.swim.address import Address

PORT = 29501


class Names(trio.abc.HostnameResolver):
    """A resolver that answers from a table, which a test may change."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}

    async def getaddrinfo(  # type: ignore[override] # only what is used here
        self,
        host: bytes,
        port: int,
        family: int = 0,
        type: int = 0,  # noqa: A002 # the interface's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        await trio.lowlevel.checkpoint()
        found = self.addresses.get(host.decode())
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, type, 0, "", (one, port)) for one in found
        ]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
async def names() -> Names:
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    return names


class Canned:
    """A source that answers what it is told to."""

    def __init__(self, name: str, addresses: Sequence[Address] | None) -> None:
        self.name = name
        self.addresses = addresses

    async def find(self) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        if self.addresses is None:
            raise DiscoveryError("cannot say")
        return self.addresses


A, B, C = (Address(f"10.0.0.{number}", PORT) for number in (1, 2, 3))


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::7", "127.0.0.1"])
async def test_an_address_needs_no_resolver(host: str) -> None:
    assert await StaticSeed(SeedName(host, PORT)).find() == [Address(host, PORT)]


async def test_a_name_is_all_its_addresses_of_both_families_once(names: Names) -> None:
    names.addresses["node-1"] = ["10.0.0.1", "fd00::1", "10.0.0.1", "::ffff:10.0.0.2"]

    found = await StaticSeed(SeedName("node-1", PORT)).find()

    assert found == [A, Address("fd00::1", PORT), B]


async def test_a_name_is_resolved_again_each_time(names: Names) -> None:
    seeds = DnsSeeds("peers.default.svc", port=PORT)
    names.addresses["peers.default.svc"] = ["10.0.0.1"]
    assert await seeds.find() == [A]

    names.addresses["peers.default.svc"] = ["10.0.0.2", "10.0.0.3"]

    assert await seeds.find() == [B, C]


@pytest.mark.parametrize("host", ["nowhere", "x" * 64 + ".example", "a..b"])
async def test_a_name_that_does_not_resolve_is_a_discovery_error(names: Names, host: str) -> None:
    with pytest.raises(DiscoveryError, match="does not resolve"):
        await DnsSeeds(host, port=PORT).find()


async def test_sources_are_put_together_in_their_order_without_repetition() -> None:
    seeds = Seeds([Canned("one", [B, A]), Canned("two", [A, C])])

    assert await seeds() == (B, A, C)


async def test_no_source_is_no_seed() -> None:
    assert await Seeds([])() == ()


async def test_a_source_that_fails_does_not_take_the_others_with_it() -> None:
    seeds = Seeds([Canned("broken", None), Canned("good", [A])])

    assert await seeds() == (A,)
    assert seeds.failures == {"broken": "cannot say"}


class Slow(Canned):
    """A source that takes its time."""

    seconds = 6.0

    async def find(self) -> Sequence[Address]:
        await trio.sleep(self.seconds)
        return await super().find()


async def test_a_slow_source_does_not_hold_the_others_up_and_is_waited_for_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seeds = Seeds([Slow("slow", [B]), Canned("good", [A])])
    started_at = trio.current_time()

    assert await seeds() == (A,)
    assert trio.current_time() - started_at == FIRST_TIMEOUT
    assert "slow" in seeds.failures
    await seeds()
    assert await seeds() == (B, A)
    assert seeds.failures == {}
    # It stays as slow as it is, so the time it is given stays too.
    assert await seeds() == (B, A)


async def test_a_look_that_is_cut_short_keeps_what_was_found_and_blames_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow("slow", [B])
    slow.seconds = 1.5
    seeds = Seeds([Canned("good", [A]), slow])
    started_at = trio.current_time()

    assert await seeds(within=1.0) == (A,)
    assert trio.current_time() - started_at == 1.0
    assert seeds.failures == {}

    # And nobody is given longer for it.
    slow.seconds = FIRST_TIMEOUT + 0.1
    assert await seeds() == (A,)


async def test_a_source_that_hangs_is_given_a_bounded_time(autojump_clock: trio.testing.MockClock) -> None:
    hanging = Slow("hanging", [B])
    hanging.seconds = math.inf
    seeds = Seeds([hanging, Canned("good", [A])])
    for _ in range(10):
        await seeds()
    started_at = trio.current_time()

    assert await seeds() == (A,)
    assert trio.current_time() - started_at == LONGEST_TIMEOUT


async def test_a_failure_is_logged_when_it_begins_and_when_it_ends() -> None:
    source = Canned("flaky", None)
    seeds = Seeds([source])

    with capture_logs() as lines:
        for addresses in (None, None, None, [A], [A], None):
            source.addresses = addresses
            await seeds()

    assert [line["log_level"] for line in lines] == ["warning", "info", "warning"]
    assert seeds.failures == {"flaky": "cannot say"}
