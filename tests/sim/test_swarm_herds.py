import random

import pytest

from spegel_gossip.testing.virtual_swarm import VirtualSwarm

MIB = 1 << 20
GBIT = 125_000_000.0


def swarm(n: int, sizes: list[int], *, seed: int = 1, has_shared_slots: bool = True) -> VirtualSwarm:
    return VirtualSwarm(
        n,
        sizes,
        node_rate=0.4 * GBIT,
        registry_rate=0.2 * GBIT,
        seed=seed,
        has_shared_slots=has_shared_slots,
    )


def assert_all_done(herd: VirtualSwarm) -> None:
    for node in herd.nodes.values():
        for fetch in node.fetches.values():
            if node.is_alive:
                assert fetch.is_done, (node.name, fetch)
                assert fetch.offset == herd.sizes[fetch.blob]


@pytest.mark.parametrize("has_shared_slots", [True, False])
@pytest.mark.parametrize("sizes", [[25 * MIB] * 4, [100 * MIB], [5 * MIB] * 20, [1000] * 6])
def test_a_cold_herd_of_eight_asks_the_registry_once(sizes: list[int], has_shared_slots: bool) -> None:
    herd = swarm(8, sizes, has_shared_slots=has_shared_slots)
    herd.pull()
    herd.run(120.0)
    assert_all_done(herd)
    assert herd.egress == 1.0
    assert herd.uncounted_404s == 0


def test_a_node_that_pulls_alone_waits_for_nobody() -> None:
    herd = swarm(8, [5 * MIB] * 4)
    herd.pull(["n3"])
    herd.run(60.0)
    assert_all_done(herd)
    assert max(herd.answered_at) < 1.0
    assert herd.yields == 0


def test_pulls_a_second_apart_read_what_is_still_arriving() -> None:
    herd = swarm(8, [100 * MIB])
    herd.pull(spread=3.0)
    herd.run(60.0)
    assert_all_done(herd)
    assert herd.egress == 1.0


def test_a_warm_roll_out_is_carried_by_those_who_receive_it() -> None:
    herd = swarm(8, [100 * MIB])
    herd.give("n0")
    herd.pull([f"n{number}" for number in range(1, 8)])
    herd.run(60.0)
    assert_all_done(herd)
    assert herd.registry.sent == 0
    # Seven copies through one uplink would be 14.7 s.
    assert herd.makespan < 5.0


def test_the_death_of_whoever_fetches_costs_no_more_than_the_rest_of_the_blob() -> None:
    herd = swarm(8, [100 * MIB])
    herd.pull()
    herd.run(2.0)
    [fetching] = [name for name, node in herd.nodes.items() if node.fetches[0].source == "registry"]
    herd.kill(fetching)
    herd.run(60.0)
    assert_all_done(herd)
    assert herd.egress < 1.1


def test_the_death_of_the_owner_stops_nobody() -> None:
    herd = swarm(8, [100 * MIB, 50 * MIB])
    herd.pull()
    herd.run(2.0)
    herd.kill(herd.owners_of(0)[0])
    herd.run(60.0)
    assert_all_done(herd)
    assert max(herd.most_upstream.values()) <= 3


def test_a_slow_registry_is_asked_once_all_the_same() -> None:
    herd = VirtualSwarm(8, [3 * MIB], node_rate=0.4 * GBIT, registry_rate=0.002 * GBIT)
    herd.pull()
    herd.run(300.0)
    assert_all_done(herd)
    assert herd.egress <= 1.1


@pytest.mark.parametrize("seed", range(12))
def test_whoever_dies_every_living_node_ends_with_all_bytes(seed: int) -> None:
    rng = random.Random(seed)
    herd = swarm(
        10, [rng.randrange(1, 40) * MIB for _ in range(5)], seed=seed, has_shared_slots=seed % 2 == 0
    )
    herd.pull(spread=rng.uniform(0.0, 2.0))
    for victim in rng.sample(sorted(herd.nodes), 4):
        herd.run(herd.now + rng.uniform(0.2, 2.0))
        herd.kill(victim)
    herd.run(300.0)
    assert_all_done(herd)
    assert max(herd.most_upstream.values()) <= 3


def circles(herd: VirtualSwarm) -> list[str]:
    """Nodes that read a blob, by way of others, from themselves."""
    found = []
    for number in range(len(herd.sizes)):
        sources = {name: node.fetches[number].source for name, node in herd.nodes.items() if node.fetches}
        for name in sources:
            at, seen = sources[name], 0
            while at in sources and at != name and seen < len(sources):
                at, seen = sources[at], seen + 1
            if at == name:
                found.append(name)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_nobody_ever_reads_from_itself_by_way_of_others(seed: int) -> None:
    rng = random.Random(seed)
    herd = swarm(12, [20 * MIB] * 3, seed=seed)
    herd.pull(spread=1.0)
    victims = rng.sample(sorted(herd.nodes), 4)
    while not herd.is_over() and herd.now < 200.0:
        herd.run(herd.now + 0.1)
        assert circles(herd) == []
        if victims and rng.random() < 0.1:
            herd.kill(victims.pop())
    assert_all_done(herd)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    ends = []
    for _ in range(2):
        herd = swarm(6, [7 * MIB] * 5, seed=seed)
        herd.pull()
        herd.run(60.0)
        ends.append((herd.makespan, herd.registry.sent, herd.yields))
    assert ends[0] == ends[1]
