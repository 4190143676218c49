from __future__ import annotations

from collections.abc import Sequence

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.gossip.own_addresses import own_addresses
from spegel_gossip.swim.address import Address

PORT = 29501


def test_a_socket_bound_to_one_address_has_that_one() -> None:
    assert own_addresses(bound_host="10.1.2.3", port=PORT, seeds=[]) == (Address("10.1.2.3", PORT),)


def test_the_route_to_a_seed_decides() -> None:
    seeds = [Address("127.0.0.9", PORT)]
    assert own_addresses(bound_host="::", port=PORT, seeds=seeds) == (Address("127.0.0.1", PORT),)


def test_only_loopback_while_the_seeds_are_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--advertise-address: .*give the address"):
        own_addresses(
            bound_host="::",
            port=PORT,
            seeds=[Address("10.0.0.1", PORT)],
            source_towards=lambda _: "127.0.0.1",
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listener_on_loopback_is_refused_while_the_seeds_are_elsewhere(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^--peer-listen: .*loopback.*give the address"):
        own_addresses(bound_host=host, port=PORT, seeds=[Address("10.0.0.1", PORT)])
    seeds = [Address("127.0.0.5", PORT), Address("::1", PORT)]
    assert own_addresses(bound_host=host, port=PORT, seeds=seeds) == (Address(host, PORT),)


def test_without_any_route_a_node_is_a_cluster_of_one() -> None:
    found = own_addresses(bound_host="::", port=PORT, seeds=[], source_towards=lambda _: None)
    assert found == (Address("127.0.0.1", PORT),)


def test_one_address_of_each_family_is_advertised_v4_first() -> None:
    sources = {"192.0.2.1": "10.0.0.5", "2001:db8::1": "fd00::5"}
    assert own_addresses(bound_host="::", port=PORT, seeds=[], source_towards=sources.get) == (
        Address("10.0.0.5", PORT),
        Address("fd00::5", PORT),
    )


def test_a_socket_of_v4_alone_advertises_no_v6_address_though_the_seed_has_one() -> None:
    sources = {"192.0.2.1": "10.0.0.5", "fd00::1": "fd00::5", "10.9.0.1": "10.9.0.5"}
    for seeds, expected in ((["fd00::1"], "10.0.0.5"), (["fd00::1", "10.9.0.1"], "10.9.0.5")):
        found = own_addresses(
            bound_host="0.0.0.0",  # noqa: S104 - what is asked about
            port=PORT,
            seeds=[Address(seed, PORT) for seed in seeds],
            source_towards=sources.get,
        )
        assert found == (Address(expected, PORT),)


class Machine:
    """The routes of a machine with two networks of v4 and one of v6."""

    def __init__(self) -> None:
        self.own = ["10.0.0.5", "192.168.0.5", "fd00::5"]
        self.default = "192.168.0.5"

    def source_towards(self, destination: str) -> str | None:
        if destination in self.own:
            return destination
        if destination == "127.0.0.1":
            return destination
        for own in self.own:
            if destination.startswith(own[:-1]):
                return own
        return self.default if self.default in self.own and ":" not in destination else None

    def advertises(self, *seeds: str, held: Sequence[Address] = ()) -> tuple[Address, ...]:
        return own_addresses(
            bound_host="::",
            port=PORT,
            seeds=[Address(seed, PORT) for seed in seeds],
            held=held,
            source_towards=self.source_towards,
        )


NEAR, FAR, SIX = Address("10.0.0.5", PORT), Address("192.168.0.5", PORT), Address("fd00::5", PORT)


def test_seeds_that_are_found_later_correct_what_the_default_route_said() -> None:
    machine = Machine()
    held = machine.advertises()
    assert held == (FAR,)
    assert machine.advertises("10.0.0.1", held=held) == (NEAR,)


def test_seeds_in_another_order_and_seeds_that_are_left_out_change_nothing() -> None:
    machine = Machine()
    held = machine.advertises("10.0.0.1", "192.168.0.1", "fd00::1")
    assert held == (NEAR, SIX)
    for seeds in (["192.168.0.1", "10.0.0.1"], ["10.0.0.1"], ["fd00::1"], ["127.0.0.1"], []):
        assert machine.advertises(*seeds, held=held) == held


def test_an_address_that_is_no_longer_ours_is_replaced() -> None:
    machine = Machine()
    held = machine.advertises("10.0.0.1")
    machine.own[0] = "10.0.0.7"
    assert machine.advertises("10.0.0.1", held=held) == (Address("10.0.0.7", PORT),)
    machine.own[0] = "172.16.0.7"
    assert machine.advertises(held=held) == (FAR,)


def test_a_machine_that_gets_its_network_later_advertises_it() -> None:
    held = own_addresses(bound_host="::", port=PORT, seeds=[], source_towards=lambda _: None)
    assert held == (Address("127.0.0.1", PORT),)
    assert Machine().advertises(held=held) == (FAR,)
    assert Machine().advertises("10.0.0.1", held=held) == (NEAR,)
