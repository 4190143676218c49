import pytest

from spegel_gossip.swim.events import MemberJoined, MemberSuspected
from spegel_gossip.testing.sim_cluster import SimCluster

SEEDS = range(4)


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_that_know_one_seed_address_find_each_other(n: int, seed: int) -> None:
    cluster = SimCluster(n, seed=seed)
    assert cluster.settle(within=10.0) <= 10.0
    joined = cluster.events_of(MemberJoined)
    assert len(joined) == len(set(joined)) == n * (n - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_join_through_loss_and_duplication(seed: int) -> None:
    cluster = SimCluster(8, seed=seed, loss=0.2, duplication=0.1)
    cluster.run_until_true(
        lambda: all(len(cluster.alive_seen_by(name)) == 8 for name in cluster.nodes), within=60
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_newcomer_is_known_to_all_within_two_seconds(seed: int) -> None:
    cluster = SimCluster(30, seed=seed)
    cluster.settle()
    cluster.add("n30", seeds=("n17",))
    assert cluster.settle() <= 2.0


def test_a_seed_that_is_not_up_yet_is_tried_again() -> None:
    cluster = SimCluster(1, seed=1)
    cluster.stop("n0")
    cluster.add("n1")
    cluster.run_for(3.0)
    assert cluster.alive_seen_by("n1") == {"n1"}
    cluster.restart("n0", seeds=())
    assert cluster.settle(within=20.0) <= 20.0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_grows_to_many_though_the_first_dies(seed: int) -> None:
    cluster = SimCluster(2, seed=seed)
    cluster.settle()
    cluster.stop("n0")
    cluster.add("n2", seeds=("n1",))
    cluster.settle(within=20.0)
    cluster.restart("n0", seeds=("n1",))
    cluster.settle(within=20.0)
    assert cluster.alive_seen_by("n0") == {"n0", "n1", "n2"}


def test_joining_again_where_all_are_known_costs_nothing() -> None:
    cluster = SimCluster(3, seed=1)
    cluster.settle()
    engine = cluster.nodes["n2"].engine
    before = engine.counters.push_pulls
    engine.join([node.address for node in cluster.nodes.values()], cluster.now)
    assert engine.counters.push_pulls == before
    assert engine.streams_to_open() == []


@pytest.mark.parametrize("n", [8, 30])
def test_an_idle_cluster_sends_probes_only(n: int) -> None:
    cluster = SimCluster(n, seed=1)
    cluster.settle()
    cluster.run_for(5.0)
    before = {name: (sent.datagrams, sent.datagram_bytes) for name, sent in cluster.network.traffic.items()}
    cluster.run_for(60.0)
    for name, sent in cluster.network.traffic.items():
        datagrams, size = before[name]
        # A ping and an ack a second; the envelope and UDP add some 110 bytes to each.
        assert sent.datagrams - datagrams <= 60 * 2.5
        assert sent.datagram_bytes - size <= 60 * 2.5 * 16
    assert cluster.events_of(MemberSuspected) == []


def test_same_seed_gives_the_same_run() -> None:
    def run() -> list[tuple[float, str, object]]:
        cluster = SimCluster(10, seed=7, loss=0.2, duplication=0.1)
        cluster.run_for(10.0)
        cluster.stop("n3")
        cluster.run_for(30.0)
        cluster.restart("n3")
        cluster.run_for(20.0)
        return [*cluster.log]

    assert run() == run()
