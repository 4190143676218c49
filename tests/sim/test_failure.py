import random

import pytest

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.events import (
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MemberSuspected,
    NameConflicted,
    UdpBlocked,
)
from spegel_gossip.swim.member import MemberState
from spegel_gossip.testing.sim_cluster import SimCluster
from spegel_gossip.testing.sim_network import nothing_dropped

SEEDS = range(4)


def settled(n: int, seed: int, *, loss: float = 0.0, config: SwimConfig | None = None) -> SimCluster:
    cluster = SimCluster(n, seed=seed, loss=loss, config=config)
    cluster.settle()
    return cluster


@pytest.mark.parametrize("seed", range(20))
def test_every_node_suspects_a_silent_member_within_two_rounds(seed: int) -> None:
    cluster = settled(5, seed)
    cluster.network.drop = lambda source, target: "n4" in {source, target}
    # Round robin: each survivor probes n4 within two rounds of its four peers, and
    # passes its verdict one interval later.
    cluster.run_for(2 * 4 * 1.0 + 1.0)
    suspected = cluster.events_of(MemberSuspected)
    assert {accuser for _, accuser, member in suspected if member == "n4"} == {"n0", "n1", "n2", "n3"}


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_death_is_known_to_all_in_bounded_time(n: int, seed: int) -> None:
    cluster = settled(n, seed)
    cluster.stop("n1")
    everybody = {name for name in cluster.nodes if name != "n1"}
    died_at = cluster.now

    def is_known() -> bool:
        return {
            seen for _, seen, member in cluster.events_of(MemberDied, since=died_at) if member == "n1"
        } == (everybody)

    # First probe within two rounds and a verdict, the longest suspicion, and gossip.
    longest = 4.0 * max(1.0, 1.48) * (6.0 if n > 4 else 1.0)
    assert cluster.run_until_true(is_known, within=2 * n + 1 + longest + 2) <= 2 * n + longest + 3
    assert {member for _, _, member in cluster.events_of(MemberDied)} == {"n1"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_false_suspicion_is_refuted(seed: int) -> None:
    # n1 alone cannot reach n5, and asks nobody to help.
    config = SwimConfig(indirect_probes=0)
    cluster = settled(8, seed, config=config)
    cluster.network.drop = lambda source, target: {source, target} == {"n1", "n5"}
    cluster.run_for(20.0)
    assert {member for _, _, member in cluster.events_of(MemberSuspected)} <= {"n1", "n5"}
    assert cluster.events_of(MemberRefuted)
    assert cluster.events_of(MemberDied) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_relays_keep_a_broken_link_from_mattering(seed: int) -> None:
    cluster = settled(8, seed)
    cluster.network.drop = lambda source, target: {source, target} == {"n1", "n5"}
    cluster.run_for(60.0)
    assert cluster.events_of(MemberSuspected) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_of_every_fifth_datagram_kills_nobody(seed: int) -> None:
    cluster = SimCluster(12, seed=seed, loss=0.2)
    cluster.run_for(120.0)
    assert cluster.events_of(MemberDied) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_where_udp_is_blocked_members_live_by_tcp_and_are_marked(seed: int) -> None:
    cluster = settled(2, seed)
    cluster.network.drop_datagrams = lambda _source, _target: True
    cluster.run_for(60.0)
    assert {(who, about) for _, who, about in cluster.events_of(UdpBlocked)} == {("n0", "n1"), ("n1", "n0")}
    assert cluster.events_of(MemberSuspected) == []
    detail = cluster.nodes["n0"].engine.detail("n1", cluster.now)
    assert detail is not None
    assert detail.is_udp_blocked
    cluster.network.drop_datagrams = nothing_dropped
    cluster.run_for(3.0)
    detail = cluster.nodes["n0"].engine.detail("n1", cluster.now)
    assert detail is not None
    assert not detail.is_udp_blocked


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_graceful_leave_is_seen_by_all_and_is_no_death(n: int, seed: int) -> None:
    cluster = settled(n, seed)
    cluster.leave("n1")
    # One or two seconds; who misses it, as gossip leaves one out now and then, suspects
    # a silent member and is put right.
    assert cluster.settle() <= 40.0
    cluster.run_for(60.0)
    assert len(cluster.events_of(MemberLeft)) == n - 1
    assert cluster.events_of(MemberDied) == []
    assert cluster.state_of("n1", seen_by="n0") is MemberState.LEFT


@pytest.mark.parametrize("after", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_crashed_node_returns_under_its_name_in_a_new_life(seed: int, after: float) -> None:
    cluster = settled(8, seed)
    cluster.stop("n3")
    cluster.run_for(after)
    returned_at = cluster.now
    cluster.restart("n3")
    assert cluster.settle() <= 10.0
    joined = {
        seen for _, seen, member in cluster.events_of(MemberJoined, since=returned_at) if member == "n3"
    }
    assert joined == {name for name in cluster.nodes if name != "n3"}


@pytest.mark.parametrize("seed", range(2))
def test_half_the_cluster_restarts_at_once_and_all_are_found(seed: int) -> None:
    # memberlist#311: 4,500 nodes whose new incarnations fought their own tombstones.
    cluster = settled(40, seed)
    for number in range(20, 40):
        cluster.stop(f"n{number}")
    cluster.run_for(60.0)
    for number in range(20, 40):
        cluster.restart(f"n{number}")
    assert cluster.settle() <= 10.0


@pytest.mark.parametrize("n", [100, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_half_of_very_many_restart_at_once_and_all_are_found(n: int) -> None:
    # A log of a million events would be all that the test does.
    cluster = SimCluster(n, seed=1, on_event=lambda _at, _name, _event: None)
    cluster.run_for(15.0)
    half = [f"n{number}" for number in range(n // 2, n)]
    for name in half:
        cluster.stop(name)
    cluster.run_for(90.0)
    assert len(cluster.alive_seen_by("n0")) == n // 2
    for name in half:
        cluster.restart(name)
    cluster.run_for(30.0)
    assert {len(cluster.alive_seen_by(name)) for name in cluster.nodes} == {n}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_paused_node_blames_nobody_when_it_wakes(seed: int) -> None:
    cluster = settled(8, seed)
    cluster.pause("n2")
    cluster.run_for(120.0)
    woke_at = cluster.now
    cluster.resume("n2")
    assert cluster.settle() <= 10.0
    cluster.run_for(30.0)
    accused = [event for event in cluster.events_of(MemberDied, since=woke_at) if event[1] == "n2"]
    assert accused == []
    assert cluster.nodes["n2"].engine.counters.late_wakes >= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_churn_of_many_names_leaves_a_consistent_table(seed: int) -> None:
    cluster = settled(4, seed, loss=0.05)
    for number in range(12):
        cluster.add(f"x{number}", seeds=("n1", "n2"))
        cluster.run_for(1.5)
        if number % 3:
            cluster.leave(f"x{number}")
        else:
            cluster.stop(f"x{number}")
    cluster.settle(within=60.0)
    assert cluster.alive_seen_by("n0") == {"n0", "n1", "n2", "n3"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pod_that_returns_elsewhere_supersedes_itself_and_its_old_address_gets_no_traffic(
    seed: int,
) -> None:
    cluster = settled(8, seed)
    old = cluster.nodes["n3"].address
    cluster.stop("n3")
    cluster.run_for(1.0)
    cluster.restart("n3", moved=True)
    cluster.settle()
    sent_to: list[Address] = []
    cluster.on_datagram = lambda _source, datagram: sent_to.append(datagram.to)
    cluster.run_for(40.0)
    assert cluster.nodes["n3"].address in sent_to
    assert old not in sent_to
    assert cluster.events_of(NameConflicted) == []
    assert cluster.events_of(MemberDied) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_an_address_that_another_member_takes_over_answers_under_its_own_name_only(seed: int) -> None:
    # Pods' addresses are reused; two clusters have become one that way (mimir#6187).
    cluster = settled(5, seed)
    old = cluster.nodes["n3"].address
    cluster.stop("n3")
    cluster.add("heir", seeds=("n1",), address=old)
    cluster.run_until_true(
        lambda: all(
            cluster.state_of("n3", seen_by=name) is MemberState.DEAD for name in ("n0", "n1", "n2", "n4")
        ),
        within=60.0,
    )
    assert "heir" in cluster.alive_seen_by("n0")
    assert not any(member == "heir" for _, _, member in cluster.events_of(MemberDied))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_processes_under_one_name_are_shown_and_the_others_are_not_disturbed(seed: int) -> None:
    cluster = settled(5, seed)
    cluster.run_for(5.0)
    first = cluster.nodes["n3"]
    twin = cluster.twin("n3")
    cluster.run_for(60.0)
    shown = [name for _, name, _ in cluster.events_of(NameConflicted)]
    assert shown == ["n3", "n3"]
    assert first.engine.conflicts
    assert twin.engine.conflicts
    assert {member for _, _, member in cluster.events_of(MemberDied)} <= {"n3"}


@pytest.mark.parametrize(("n", "seed"), [(16, 0), (16, 1), (16, 2), (16, 3), (100, 0)])
def test_a_member_whose_sends_are_mostly_lost_takes_nobody_with_it(n: int, seed: int) -> None:
    # Rapid (ATC'18), figure 9: 80 % of what one member in a hundred sends is lost.
    cluster = settled(n, seed)
    chance = random.Random(seed)
    cluster.network.drop_datagrams = lambda source, _target: source == "n5" and chance.random() < 0.8
    cluster.run_for(120.0)
    assert {member for _, _, member in cluster.events_of(MemberDied)} <= {"n5"}


@pytest.mark.parametrize(("sick", "seed"), [(1, 0), (1, 1), (2, 2)])
def test_one_or_two_sick_nodes_take_no_well_node_with_them(sick: int, seed: int) -> None:
    # consul#1212: members that stall for longer than a suspicion lasts, and judge before they hear.
    cluster = settled(20, seed)
    ill = [f"n{number}" for number in range(5, 5 + sick)]
    for _ in range(5):
        for name in ill:
            cluster.stall(name)
        cluster.run_for(15.0)
        for name in ill:
            cluster.unstall(name)
        cluster.run_for(0.5)
    assert {member for _, _, member in cluster.events_of(MemberDied)} <= set(ill)


@pytest.mark.parametrize(
    ("config", "is_well"),
    [
        (SwimConfig(), True),
        (
            SwimConfig(
                confirmations_wanted=0, max_local_health=1, has_buddy_system=False, distrusts_late_wakes=False
            ),
            False,
        ),
    ],
    ids=["Lifeguard", "plain SWIM"],
)
def test_members_that_stall_all_at_once_bury_well_ones_without_lifeguard_only(
    config: SwimConfig, is_well: bool
) -> None:
    # Lifeguard's interval experiment, one point of it; the grid is in benchmarks/membership.py.
    cluster = settled(24, 1, config=config)
    ill = [f"n{number}" for number in range(5, 11)]
    for _ in range(4):
        for name in ill:
            cluster.stall(name)
        cluster.run_for(16.0)
        for name in ill:
            cluster.unstall(name)
        cluster.run_for(0.016)
    buried = {member for _, _, member in cluster.events_of(MemberDied)}
    assert (buried <= set(ill)) == is_well


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_that_comes_and_goes_one_way_does_not_make_members_flap(seed: int) -> None:
    # Rapid (ATC'18), figure 9: every 20 s, what one member sends is lost for 20 s.
    cluster = settled(16, seed)
    cluster.network.drop = lambda source, _target: source == "n5" and int(cluster.now // 20) % 2 == 0
    cluster.run_for(120.0)
    assert {member for _, _, member in cluster.events_of(MemberDied)} <= {"n5"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_firewall_between_two_racks_that_knows_no_udp_kills_nobody(seed: int) -> None:
    cluster = settled(6, seed)
    lost = {"n4", "n5"}
    cluster.network.drop_datagrams = lambda source, target: (source in lost) != (target in lost)
    cluster.run_for(90.0)
    # Streams still pass: TCP keeps them alive, and everybody says that UDP is blocked.
    assert cluster.events_of(MemberDied) == []
    assert {member for _, seen, member in cluster.events_of(UdpBlocked) if seen == "n0"} == lost
