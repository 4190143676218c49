import pytest

from spegel_gossip.directory.fetch_messages import FetchTold, ProgressState, Verdict
from spegel_gossip.directory.granting import CROWD_INTERVAL, FETCHED_AT_ONCE, SHARING_INTERVAL
from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.leases import (
    ANSWERS_AT_ONCE,
    BUSY_INTERVAL,
    LOOK_INTERVAL,
    LOOKED_AT_ONCE,
    UNASKED,
)
from spegel_gossip.directory.parents import MAX_CHILDREN, SPARE_INTERVAL, Known
from spegel_gossip.directory.spread import FIRST_STEP_TIMEOUT, GATHER_INTERVAL
from spegel_gossip.oci.digest import Digest
from unit.directory.owners import MIB, NODES, TOTAL, Owner, source


def answered(owner: Owner, seconds: float) -> dict[str, FetchTold]:
    """Let time pass, and return what those who waited were told."""
    owner.now += seconds
    owner.leases.handle_timer(owner.now)
    return dict(owner.answers())


def test_who_asks_alone_is_answered_at_once() -> None:
    owner = Owner()
    assert owner.ask("n0", burden=9, patiently=False).verdict == Verdict.LEASE


def test_an_asker_of_a_crowd_with_other_blobs_to_fetch_lets_one_with_fewer_have_the_lease() -> None:
    owner = Owner()
    assert owner.ask("n0", burden=5, is_crowded=True, patiently=False).verdict == Verdict.WAIT
    assert owner.ask("n1", burden=4, is_crowded=True, patiently=False).verdict == Verdict.WAIT
    told = answered(owner, SHARING_INTERVAL)
    assert told["n1"].verdict == Verdict.LEASE
    assert "n0" not in told
    assert owner.leases.counts["granted"] == 1


@pytest.mark.parametrize("burden", range(FETCHED_AT_ONCE))
def test_what_a_node_fetches_at_once_it_is_given_at_once(burden: int) -> None:
    assert Owner().ask("n0", burden=burden, is_crowded=True, patiently=False).verdict == Verdict.LEASE


def test_one_with_less_to_fetch_waits_for_nobody() -> None:
    owner = Owner()
    assert owner.ask("n0", burden=5, is_crowded=True, patiently=False).verdict == Verdict.WAIT
    assert owner.ask("n1", is_crowded=True, patiently=False).verdict == Verdict.LEASE


def test_a_burdened_asker_that_stays_the_only_one_gets_the_lease_after_a_tenth_of_a_second() -> None:
    owner = Owner()
    assert owner.ask("n0", burden=5, is_crowded=True, patiently=False).verdict == Verdict.WAIT
    timer_at = owner.leases.next_timer_at()
    assert timer_at is not None
    assert timer_at <= owner.now + SHARING_INTERVAL
    assert answered(owner, SHARING_INTERVAL)["n0"].verdict == Verdict.LEASE


def test_who_gives_way_takes_the_lease_where_nobody_has_it() -> None:
    assert Owner().ask("n0", gives_way=True).verdict == Verdict.LEASE


@pytest.mark.parametrize("known", [Known(), Known(is_young=True)])
def test_who_gives_way_is_neither_told_whom_to_read_from_nor_kept_in_the_line(known: Known) -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.known = known
    assert owner.ask("n1", gives_way=True).verdict == Verdict.WAIT
    owner.report("n0", MIB, token=token)
    assert answered(owner, GATHER_INTERVAL) == {}
    assert owner.leases.counts["attached"] == 0
    assert source(owner.ask("n1")) == "n0"


def test_who_gives_way_leaves_the_lease_to_one_with_fewer_and_takes_it_when_it_comes_again() -> None:
    owner = Owner()
    first = owner.ask("n0", burden=5, is_crowded=True, gives_way=True, patiently=False)
    assert first.verdict == Verdict.WAIT
    assert answered(owner, SHARING_INTERVAL) == {}, "it is not there to be told"
    assert owner.ask("n0", burden=5, is_crowded=True).verdict == Verdict.LEASE


def test_equals_get_different_blobs() -> None:
    first = []
    for number in range(40):
        owner = Owner()
        key = pack_key(Digest.of(str(number).encode()))
        for name in NODES:
            owner.ask(name, burden=3, is_crowded=True, patiently=False, key=key)
        told = answered(owner, SHARING_INTERVAL)
        first += [name for name, one in told.items() if one.verdict == Verdict.LEASE]
    assert len(first) == 40
    assert len(set(first)) >= 6


def test_a_lost_lease_is_given_again_without_waiting_for_a_better_asker() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.leases.member_gone("n0", owner.now)
    assert owner.ask("n1", burden=3, is_crowded=True, patiently=False).verdict == Verdict.LEASE


def test_whoever_fetches_hears_once_that_others_ask_too() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    assert not owner.ask("n0").is_crowded
    told = [owner.ask(name, patiently=False) for name in ("n1", "n2")]
    assert all(one.is_crowded for one in told)
    unasked = [(name, one) for name, one in owner.leases.told() if one.id == UNASKED]
    assert [(name, one.token, one.is_crowded) for name, one in unasked] == [("n0", token, True)]


def test_a_question_of_long_ago_makes_no_crowd() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.now += CROWD_INTERVAL
    assert not owner.ask("n1", patiently=False).is_crowded


def test_different_layers_get_different_first_children() -> None:
    children = []
    for number in range(40):
        owner = Owner()
        key = pack_key(Digest.of(str(number).encode()))
        owner.ask("n0", key=key)
        for name in NODES[1:]:
            assert owner.ask(name, key=key, patiently=False).verdict == Verdict.WAIT
        told = answered(owner, GATHER_INTERVAL)
        assert len(told) == len(NODES) - 1
        children += [name for name, one in told.items() if source(one) == "n0"]
    assert len(set(children)) >= 6


def test_who_was_gathered_is_a_chain_as_if_all_had_come_in_turn() -> None:
    owner = Owner()
    owner.ask("n0")
    for name in NODES[1:5]:
        owner.ask(name, patiently=False)
    told = answered(owner, GATHER_INTERVAL)
    assert {one.verdict for one in told.values()} == {Verdict.ATTACH}
    assert sorted(one.depth for one in told.values()) == [2, 3, 4, 5]
    assert len({source(one) for one in told.values()}) == 4


def test_the_first_byte_ends_the_gathering() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1", patiently=False)
    owner.report("n0", MIB, token=token)
    assert source(dict(owner.answers())["n1"]) == "n0"


def test_a_crowd_of_hundreds_is_answered_in_turns() -> None:
    owner = Owner(zones={})
    owner.ask("n0")
    for number in range(200):
        owner.ask(f"m{number}", patiently=False)
    sizes = []
    owner.now += GATHER_INTERVAL
    while owner.leases.waiting():
        owner.leases.handle_timer(owner.now)
        sizes.append(len(owner.answers()))
        timer_at = owner.leases.next_timer_at()
        assert timer_at is not None
        assert timer_at > owner.now
        owner.now = timer_at
    assert max(sizes) == ANSWERS_AT_ONCE
    assert sum(sizes) == 200
    assert owner.leases.counts["granted"] == 1


def test_where_many_wait_a_report_has_them_looked_at_in_a_moment_and_not_at_once() -> None:
    # Each of a thousand nodes says twice a second how far it is.
    owner = Owner(zones={})
    token = owner.ask("n0").token
    names = [f"m{number}" for number in range(LOOKED_AT_ONCE + 1)]
    for name in names:
        owner.ask(name, patiently=False)
    owner.leases.handle_timer(owner.now)
    for _ in range(3):
        owner.report("n0", MIB, token=token)
        assert owner.answers() == []
    assert owner.leases.waiting() == len(names)
    timer_at = owner.leases.next_timer_at()
    assert timer_at is not None
    assert owner.now < timer_at <= owner.now + LOOK_INTERVAL
    owner.now = timer_at
    owner.leases.handle_timer(owner.now)
    assert sorted(name for name, _ in owner.answers()) == sorted(names)


def test_a_node_whose_copy_nobody_can_read_gets_the_lease_if_nobody_else_asks() -> None:
    owner = Owner()
    assert owner.ask("n0", is_blind=True, patiently=False).verdict == Verdict.LEASE


def test_a_node_whose_copy_nobody_can_read_waits_for_others_that_ask() -> None:
    owner = Owner()
    assert owner.ask("n0", is_blind=True, is_crowded=True, patiently=False).verdict == Verdict.WAIT
    assert owner.ask("n1", is_crowded=True, patiently=False).verdict == Verdict.LEASE
    assert answered(owner, GATHER_INTERVAL)["n0"].verdict == Verdict.ATTACH


def test_nobody_waits_for_a_copy_that_it_could_not_read() -> None:
    owner = Owner()
    token = owner.ask("n0", is_blind=True).token
    owner.report("n0", MIB, token=token)
    assert owner.ask("n1").verdict == Verdict.LEASE
    owner.report("n0", TOTAL, token=token, state=ProgressState.DONE)
    assert source(owner.ask("n2")) in {"n0", "n1"}


def test_an_unused_uplink_gets_one_more_child_each_second_and_four_at_most() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    loads = []
    for number in range(1, 9):
        name = NODES[number]
        told = owner.ask(name)
        loads.append(source(told) == "n0")
        for _ in range(5):
            owner.now += SPARE_INTERVAL / 2
            owner.report("n0", number * 2 * MIB, token=token, has_spare=True)
            for child in NODES[1 : number + 1]:
                owner.report(child, number * MIB)
    assert loads[:MAX_CHILDREN] == [True] * MAX_CHILDREN
    assert not any(loads[MAX_CHILDREN:])


def test_a_full_uplink_gets_no_further_child() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    owner.ask("n1")
    for step in range(6):
        owner.now += SPARE_INTERVAL / 2
        owner.report("n0", (2 + step) * MIB, token=token, has_spare=False)
        owner.report("n1", (1 + step) * MIB)
    assert source(owner.ask("n2")) == "n1"


@pytest.mark.parametrize(("uplink", "children"), [(0, 1), (12_500_000, 1), (10**10, 2)])
def test_a_measured_uplink_says_whether_a_chain_is_faster_than_a_tree(uplink: int, children: int) -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token, uplink=uplink)
    told = [owner.ask(name) for name in ("n1", "n2", "n3")]
    assert [source(one) for one in told].count("n0") == children


def test_a_lease_without_a_byte_is_kept_while_another_fetch_of_its_holder_grows() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    for _ in range(60):
        owner.now += 1.0
        owner.report("n0", 0, token=token, is_growing=True)
        owner.leases.handle_timer(owner.now)
    assert [view.holder for view in owner.leases.views(owner.now)] == ["n0"]


def test_a_slow_line_that_many_blobs_share_has_as_many_times_the_patience() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    lost_at = 0.0
    while not lost_at:
        owner.now += 0.5
        owner.report("n0", 0, token=token, sharing=4)
        owner.leases.handle_timer(owner.now)
        lost_at = owner.now if owner.leases.counts["lost_stalled"] else 0.0
    assert 4 * FIRST_STEP_TIMEOUT <= lost_at - 100.0 <= 4 * FIRST_STEP_TIMEOUT + 1.0


@pytest.mark.parametrize("is_urgent", [False, True])
def test_nobody_is_sent_upstream_while_a_complete_source_lives(is_urgent: bool) -> None:
    owner = Owner(Known(("n9",), TOTAL))
    verdicts = {owner.ask(name, is_urgent=is_urgent).verdict for name in NODES[:9] for _ in range(2)}
    assert verdicts <= {Verdict.READ, Verdict.ATTACH, Verdict.WAIT}


def test_a_receiver_of_which_another_owner_knew_more_closes_no_circle() -> None:
    owner = Owner(Known(is_first=False))
    # By its own word n1 reads from n2; no other owner told this one.
    owner.report("n2", 3 * MIB)
    owner.report("n1", 3 * MIB, parent="n2")
    told = owner.ask("n2", offset=3 * MIB, must_decide=True)
    assert told.verdict == Verdict.LEASE


def test_a_receiver_whose_source_is_gone_is_not_taken_for_one_that_is_fed() -> None:
    owner = Owner(Known(is_first=False))
    owner.report("n1", 3 * MIB, parent="nobody that is known")
    assert owner.ask("n2", must_decide=True).verdict == Verdict.LEASE


def test_a_busy_source_is_not_named_again_at_once_and_nobody_is_sent_upstream_for_it() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    assert source(owner.ask("n1")) == "n0"
    assert owner.ask("n1", busy=("n0",)).verdict == Verdict.WAIT
    owner.now += BUSY_INTERVAL / 2
    # As long as it waits it repeats its question, and what it said in it.
    assert owner.ask("n1", busy=("n0",), is_repeated=True).verdict == Verdict.WAIT
    owner.now += BUSY_INTERVAL / 2
    owner.report("n0", 2 * MIB, token=token)
    assert source(dict(owner.answers())["n1"]) == "n0"
