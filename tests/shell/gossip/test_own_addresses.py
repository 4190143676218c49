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
