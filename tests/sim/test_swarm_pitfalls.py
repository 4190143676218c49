"""What is known to go wrong in a herd, one by one, in virtual time.

What needs bytes is tried elsewhere: wrong bytes in `shell/stores/test_wrong_blobs` and
`e2e/test_faults_wrong_bytes`, aborted ingests and a blob collected while it is sent in the
stores' conformance tests, endings by FIN in `shell/transfer`, several ranges in
`shell/transfer/test_growing_sources`.
"""

import pytest

from sim.herds import GBIT, MIB, assert_all_done, assert_sound, fetching, herd, run_watched
from spegel_gossip.directory.spread import COMMIT_TIMEOUT
from spegel_gossip.testing.virtual_mirror import MAX_PARTIAL_UPLOADS
from spegel_gossip.testing.virtual_node import REGISTRY

ALL = [f"n{number}" for number in range(8)]


@pytest.mark.parametrize("at", [0.5, 2.0])
def test_an_upstream_that_stalls_for_the_lease_holder_is_asked_by_whoever_is_furthest(at: float) -> None:
    swarm = herd()
    swarm.pull()
    run_watched(swarm, at)
    [stalled] = fetching(swarm)
    had = swarm.nodes[stalled].fetches[0].offset
    swarm.nodes[stalled].upstream_rate = 0.0
    run_watched(swarm, at + 4.0)
    others = [name for name in fetching(swarm) if name != stalled]
    assert len(others) == 1
    # It went on where the stalled one stood, and did not begin again.
    assert had - 2 * MIB <= swarm.nodes[others[0]].fetches[0].offset
    run_watched(swarm, 60.0)
    assert all(node.finished_at is not None for name, node in swarm.nodes.items() if name != stalled)
    assert swarm.egress < 1.1


def test_an_upstream_that_never_begins_for_the_lease_holder_costs_ten_seconds() -> None:
    swarm = herd()
    for name in ALL[:4]:
        swarm.nodes[name].upstream_rate = 0.0
    swarm.pull(ALL[:1])
    swarm.pull(ALL[4:], spread=0.5)
    run_watched(swarm, 60.0)
    done = [node.finished_at for name, node in swarm.nodes.items() if name in ALL[4:]]
    assert all(at is not None and at < 25.0 for at in done)
    assert swarm.egress < 1.1


def test_a_lease_holder_that_is_killed_is_replaced_by_progress_and_not_by_membership() -> None:
    swarm = herd()
    swarm.pull()
    run_watched(swarm, 2.0)
    [victim] = fetching(swarm)
    # Nobody tells the owners that a member is gone.
    swarm.kill(victim)
    run_watched(swarm, 12.0)
    assert_all_done(swarm)
    assert swarm.egress < 1.1


def test_a_lease_holder_that_is_cut_off_is_replaced_and_comes_back_without_harm() -> None:
    swarm = herd()
    swarm.pull()
    run_watched(swarm, 1.0)
    [victim] = fetching(swarm)
    swarm.nodes[victim].side = victim
    run_watched(swarm, 9.0)
    swarm.nodes[victim].side = ""
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    # Its own fetch went on meanwhile.
    assert swarm.egress < 2.0


@pytest.mark.parametrize("seed", [1, 6])
@pytest.mark.parametrize("n", [5, 8])
def test_an_owner_that_fetches_and_is_cut_off_is_replaced_by_one_node(n: int, seed: int) -> None:
    swarm = herd(n, seed=seed)
    owner = swarm.ring_of(0)[0]
    swarm.pull([owner])
    run_watched(swarm, 0.3)
    others = [name for name in swarm.nodes if name != owner]
    swarm.pull(others)
    run_watched(swarm, 2.0)
    assert fetching(swarm) == [owner]
    # Everybody gives its source up, one after the other, and hears the silent owner out before the next.
    swarm.nodes[owner].side = owner
    run_watched(swarm, 60.0)
    assert all(swarm.nodes[name].finished_at is not None for name in others)
    assert len(set(swarm.lease_holders[0]) - {owner}) == 1
    # Its own fetch went on meanwhile.
    assert swarm.egress < 2.0


@pytest.mark.parametrize("is_owner", [False, True])
def test_whoever_read_from_a_node_that_is_killed_takes_its_place_at_once(is_owner: bool) -> None:
    swarm = herd()
    owner = swarm.ring_of(0)[0]
    first = next(name for name in swarm.nodes if name != owner)
    swarm.pull([first])
    run_watched(swarm, 0.3)
    swarm.pull([name for name in swarm.nodes if name != first])
    run_watched(swarm, 1.0)
    assert fetching(swarm) == [first]
    read_from = {node.fetches[0].source for node in swarm.nodes.values()}
    victim = owner if is_owner else next(name for name in read_from - {owner, first, REGISTRY})
    # A chain: nobody but its own reader has a slot to spare, and nobody has heard that it is dead.
    [reader] = [name for name, node in swarm.nodes.items() if node.fetches[0].source == victim]
    swarm.kill(victim)
    swarm.mirror.copy_ended(swarm.nodes[victim], swarm.nodes[victim].fetches[0])
    had = swarm.nodes[reader].fetches[0].offset
    run_watched(swarm, 2.0)
    assert swarm.nodes[reader].fetches[0].offset > had + 10 * MIB
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.egress <= 1.05


@pytest.mark.parametrize("seconds", [1.0, 2.0, 2.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_owner_that_is_cut_off_for_a_moment_takes_nobody_for_stalled(seed: int, seconds: float) -> None:
    swarm = herd(seed=seed, registry_rate=0.05 * GBIT)
    owner = swarm.ring_of(0)[0]
    pulling = [name for name in swarm.nodes if name != owner]
    swarm.pull(pulling)
    run_watched(swarm, 2.0)
    swarm.nodes[owner].side = owner
    run_watched(swarm, 2.0 + seconds)
    swarm.nodes[owner].side = ""
    run_watched(swarm, 2.0 + seconds + 0.05)
    swarm.pull([owner])
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.owners[owner].counts["lost_stalled"] == 0
    assert len(swarm.lease_holders[0]) == 1


@pytest.mark.parametrize("at", [0.3, 2.0])
def test_the_death_of_the_owner_in_the_middle_costs_no_second_fetch(at: float) -> None:
    swarm = herd(9, seed=3)
    owner = swarm.ring_of(0)[0]
    swarm.pull([name for name in swarm.nodes if name != owner])
    run_watched(swarm, at)
    swarm.kill(owner)
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.egress <= 1.05


def test_both_owners_can_die_and_at_most_three_fetch() -> None:
    swarm = herd(10, seed=4)
    owners = swarm.ring_of(0)[:2]
    swarm.pull([name for name in swarm.nodes if name not in owners])
    run_watched(swarm, 1.0)
    for owner in owners:
        swarm.kill(owner)
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert_sound(swarm)


def test_a_lease_holder_with_a_slow_line_slows_the_others_and_stops_nobody() -> None:
    swarm = herd(sizes=[20 * MIB])
    swarm.pull()
    run_watched(swarm, 0.2)
    [slow] = fetching(swarm)
    swarm.nodes[slow].upstream_rate = 0.4 * MIB
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    assert swarm.egress <= 1.1


def test_a_lease_holder_whose_link_is_throttled_is_left_by_the_others() -> None:
    swarm = herd()
    swarm.pull()
    run_watched(swarm, 2.0)
    [slow] = fetching(swarm)
    node = swarm.nodes[slow]
    node.uplink.rate = node.downlink.rate = 0.001 * GBIT
    others = [other for name, other in swarm.nodes.items() if name != slow]
    while not all(other.finished_at for other in others) and swarm.now < 100.0:
        run_watched(swarm, swarm.now + 0.5)
    assert all(other.finished_at is not None for other in others)
    # Alone, the slow one would take ten minutes.
    assert swarm.now < 20.0
    assert swarm.egress <= 1.7


def test_each_side_of_a_split_cluster_fetches_once() -> None:
    swarm = herd(8, sizes=[10 * MIB] * 3)
    swarm.is_split_known = True
    for name in ALL[:4]:
        swarm.nodes[name].side = "left"
    swarm.pull()
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.egress == 2.0


def test_a_split_that_nobody_knows_of_yet_costs_more_and_stops_nobody() -> None:
    swarm = herd(8, sizes=[10 * MIB] * 3)
    for name in ALL[:4]:
        swarm.nodes[name].side = "left"
    swarm.pull()
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    assert max(swarm.most_upstream.values()) <= 6


def test_a_containerd_that_restarts_goes_on_where_it_was() -> None:
    swarm = herd(sizes=[25 * MIB] * 4)
    swarm.pull()
    for name in ("n1", "n2", fetching(swarm)[0] if fetching(swarm) else "n3"):
        run_watched(swarm, swarm.now + 0.5)
        swarm.containerd.restart(swarm.nodes[name])
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.egress <= 1.1


def test_a_pull_that_is_cancelled_hands_its_lease_on_at_once() -> None:
    swarm = herd()
    swarm.pull()
    run_watched(swarm, 1.0)
    [cancelled] = fetching(swarm)
    swarm.containerd.cancel(swarm.nodes[cancelled])
    run_watched(swarm, 15.0)
    assert_all_done(swarm)
    assert swarm.egress < 1.1


def test_a_lease_holder_that_never_commits_is_read_from_and_holds_nobody_up() -> None:
    swarm = herd(sizes=[20 * MIB])
    swarm.nodes["n0"].commit_delay = 1_000.0
    swarm.pull(ALL[:1])
    run_watched(swarm, 5.0)
    assert swarm.nodes["n0"].fetches[0].offset == 20 * MIB
    swarm.pull(ALL[1:])
    run_watched(swarm, 25.0)
    assert all(swarm.nodes[name].finished_at is not None for name in ALL[1:])
    assert swarm.egress == 1.0


def test_a_copy_that_nobody_commits_for_a_minute_is_fetched_again() -> None:
    swarm = herd(sizes=[20 * MIB])
    swarm.nodes["n0"].commit_delay = 1_000.0
    swarm.pull(ALL[:1])
    run_watched(swarm, COMMIT_TIMEOUT + 5.0)
    swarm.pull(ALL[1:])
    run_watched(swarm, COMMIT_TIMEOUT + 25.0)
    assert all(swarm.nodes[name].finished_at is not None for name in ALL[1:])
    assert swarm.egress == 2.0


def test_a_registry_that_goes_down_half_way_is_waited_for() -> None:
    swarm = herd(sizes=[40 * MIB])
    swarm.pull()
    run_watched(swarm, 1.0)
    rate, swarm.registry.rate = swarm.registry.rate, 0.0
    run_watched(swarm, 8.0)
    swarm.registry.rate = rate
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    assert swarm.egress <= 2.0


@pytest.mark.parametrize("keeps_ingests", [True, False])
@pytest.mark.parametrize("seconds", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("at", [0.5, 2.0])
def test_a_registry_that_was_away_for_a_moment_is_not_asked_by_everybody(
    at: float, seconds: float, keeps_ingests: bool
) -> None:
    swarm = herd()
    swarm.keeps_ingests = keeps_ingests
    swarm.pull()
    run_watched(swarm, at)
    swarm.is_registry_away = True
    run_watched(swarm, at + seconds)
    swarm.is_registry_away = False
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    assert swarm.egress <= 2.0


@pytest.mark.parametrize("holders", [1, 2])
def test_without_a_registry_one_whole_copy_is_enough(holders: int) -> None:
    swarm = herd(8, sizes=[20 * MIB] * 3)
    swarm.registry.rate = 0.0
    for name in ALL[:holders]:
        swarm.give(name)
    swarm.pull(ALL[holders:])
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.registry.sent == 0


def test_no_node_sends_more_growing_copies_than_it_may() -> None:
    swarm = herd(40, sizes=[6 * MIB] * 12, has_shared_slots=False)
    for node in swarm.nodes.values():
        node.slots = 12
    swarm.pull()
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    # One more for each blob that nobody would get otherwise.
    assert swarm.most_partial_uploads <= MAX_PARTIAL_UPLOADS + len(swarm.sizes)
    assert swarm.egress <= 1.05


def test_a_node_that_nobody_can_read_from_fetches_only_alone() -> None:
    alone = herd(1)
    alone.nodes["n0"].is_blind = True
    alone.pull()
    run_watched(alone, 30.0)
    assert_all_done(alone)
    swarm = herd(8, sizes=[10 * MIB] * 3, has_manifest=True)
    for name in ALL[:3]:
        swarm.nodes[name].is_blind = True
    swarm.pull()
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    layers = {name for blob in swarm.blobs()[1:] for name in swarm.lease_holders[blob]}
    assert not layers & set(ALL[:3])


def test_many_small_blobs_do_not_lock_slots() -> None:
    swarm = herd(5, sizes=[100_000] * 60, has_manifest=True)
    swarm.pull(spread=0.2)
    run_watched(swarm, 120.0)
    assert_all_done(swarm)
    assert swarm.egress == 1.0


@pytest.mark.parametrize("place", [0, 4, 9])
@pytest.mark.parametrize("head_start", [0.2, 1.0])
def test_a_new_layer_that_a_fresh_node_fetches_does_not_stand_in_line_behind_old_ones(
    head_start: float, place: int
) -> None:
    sizes = [30 * MIB] * 10
    sizes[place] = MIB // 2
    swarm = herd(5, sizes, registry_rate=0.1 * GBIT)
    for node in swarm.nodes.values():
        node.downlink.rate = node.uplink.rate = 0.1 * GBIT
    for name in ALL[1:5]:
        swarm.give(name, but=[place])
    swarm.pull(ALL[:1])
    run_watched(swarm, head_start)
    swarm.pull(ALL[1:5])
    run_watched(swarm, 60.0)
    assert_all_done(swarm)
    assert swarm.registry.sent == sizes[place]
    # Nine layers take the fresh node 23 s.
    assert max(swarm.nodes[name].finished_at or 99.0 for name in ALL[1:5]) < head_start + 3.0
    assert swarm.nodes["n0"].finished_at is not None
    assert swarm.nodes["n0"].finished_at < 26.0


def test_a_newcomer_during_the_roll_out_reads_what_is_there() -> None:
    swarm = herd(10)
    swarm.pull(ALL)
    run_watched(swarm, 3.0)
    swarm.pull(["n8", "n9"])
    run_watched(swarm, 30.0)
    assert_all_done(swarm)
    assert swarm.egress == 1.0
