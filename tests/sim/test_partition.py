import pytest

from spegel_gossip.swim.events import MemberDied, MemberJoined
from spegel_gossip.testing.sim_cluster import SimCluster
from spegel_gossip.testing.sim_network import nothing_dropped

SEEDS = range(3)


def is_left(name: str, n: int) -> bool:
    return int(name[1:]) < n // 2


@pytest.mark.parametrize("n", [2, 3, 8, 24])
@pytest.mark.parametrize("seed", SEEDS)
def test_two_halves_become_one_cluster_within_a_minute(n: int, seed: int) -> None:
    cluster = SimCluster(n, seed=seed)
    cluster.settle()
    cluster.network.drop = lambda source, target: is_left(source, n) != is_left(target, n)
    cluster.run_for(200.0)
    assert cluster.alive_seen_by("n0") == {name for name in cluster.nodes if is_left(name, n)}
    cluster.network.drop = nothing_dropped
    healed_at = cluster.now
    assert cluster.settle(within=60.0) <= 60.0
    # Departure 3: nobody who lived is talked off a ring it was on.
    assert cluster.events_of(MemberDied, since=healed_at) == []
    joined = cluster.events_of(MemberJoined, since=healed_at)
    assert all(is_left(seen, n) != is_left(member, n) for _, seen, member in joined)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partition_shorter_than_a_suspicion_kills_nobody(seed: int) -> None:
    cluster = SimCluster(8, seed=seed)
    cluster.settle()
    cluster.network.drop = lambda source, target: is_left(source, 8) != is_left(target, 8)
    cluster.run_for(3.5)
    cluster.network.drop = nothing_dropped
    cluster.settle(within=30.0)
    assert cluster.events_of(MemberDied) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_one_way_link_does_not_make_members_flap(seed: int) -> None:
    cluster = SimCluster(10, seed=seed)
    cluster.settle()
    # Half of the others hear nothing from n9.
    cluster.network.drop = lambda source, target: source == "n9" and int(target[1:]) < 4
    cluster.run_for(120.0)
    assert cluster.events_of(MemberDied) == []


def part_of(name: str, parts: int) -> int:
    return int(name[1:]) % parts


@pytest.mark.parametrize("seed", range(2))
def test_ten_parts_become_one_cluster_within_a_minute(seed: int) -> None:
    cluster = SimCluster(30, seed=seed)
    cluster.settle()
    cluster.network.drop = lambda source, target: part_of(source, 10) != part_of(target, 10)
    cluster.run_for(200.0)
    assert len(cluster.alive_seen_by("n0")) == 3
    cluster.network.drop = nothing_dropped
    healed_at = cluster.now
    assert cluster.settle(within=60.0) <= 60.0
    assert cluster.events_of(MemberDied, since=healed_at) == []


def test_a_node_that_was_alone_for_an_hour_is_taken_back() -> None:
    cluster = SimCluster(4, seed=1)
    cluster.settle()
    cluster.network.drop = lambda source, target: "n3" in {source, target}
    cluster.run_for(3600.0)
    assert cluster.alive_seen_by("n3") == {"n3"}
    cluster.network.drop = nothing_dropped
    healed_at = cluster.now
    assert cluster.settle(within=60.0) <= 60.0
    assert cluster.events_of(MemberDied, since=healed_at) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_who_missed_a_death_does_not_bring_the_dead_back(seed: int) -> None:
    # memberlist#312: those who forgot accepted the claim of one who had not heard.
    cluster = SimCluster(10, seed=seed)
    cluster.settle()
    cluster.network.drop = lambda source, target: "n9" in {source, target}
    cluster.stop("n3")
    cluster.pause("n9")
    cluster.run_for(120.0)
    cluster.resume("n9")
    cluster.network.drop = nothing_dropped
    healed_at = cluster.now
    cluster.settle(within=60.0)
    cluster.run_for(60.0)
    returned = [(seen, member) for _, seen, member in cluster.events_of(MemberJoined, since=healed_at)]
    assert "n3" not in {member for _, member in returned}
