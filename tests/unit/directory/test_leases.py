from collections import Counter

import pytest

from spegel_gossip.directory import leases, spread
from spegel_gossip.directory.fetch_messages import FetchTold, ProgressState, Verdict
from spegel_gossip.directory.granting import FAILED_PAUSE, REFUSAL_INTERVAL
from spegel_gossip.directory.parents import Known
from spegel_gossip.directory.spread import COMMIT_TIMEOUT
from spegel_gossip.swarm import receptions
from unit.directory.owners import KEY, MIB, NAMES, NODES, TOTAL, Owner, source


def test_the_first_asker_gets_the_lease_and_everybody_else_a_source() -> None:
    owner = Owner()
    assert owner.ask("n0").verdict == Verdict.LEASE
    for name in NODES[1:]:
        told = owner.ask(name)
        assert told.verdict == Verdict.ATTACH
        assert source(told) != name
    assert owner.leases.counts["granted"] == 1


def test_a_lease_holder_that_asks_again_is_told_its_lease_again() -> None:
    owner = Owner()
    first, again = owner.ask("n0"), owner.ask("n0")
    assert (first.verdict, again.verdict) == (Verdict.LEASE, Verdict.LEASE)
    assert first.token == again.token


def test_a_few_receivers_of_a_large_blob_are_a_chain() -> None:
    owner = Owner()
    owner.ask("n0")
    assert [source(owner.ask(name)) for name in ("n1", "n2", "n3")] == ["n0", "n1", "n2"]


def test_many_receivers_are_a_tree_of_two_that_is_filled_from_the_top() -> None:
    owner = Owner()
    owner.ask("n0", total=2 * MIB)
    depths = [owner.ask(name, total=2 * MIB).depth for name in NODES[1:]]
    assert depths == sorted(depths)
    assert max(depths) <= 4


def test_small_layers_of_a_large_image_go_by_chains_where_the_whole_cluster_would_fit_into_one() -> None:
    owner = Owner()
    owner.known = Known(("n0",), 2 * MIB)
    first = [owner.ask(name, total=2 * MIB, together=TOTAL) for name in ("n1", "n2", "n3")]
    assert [source(told) for told in first] == ["n0", "n1", "n2"]


def test_they_go_by_trees_where_it_would_not() -> None:
    owner = Owner(zones={f"n{number}": "z" for number in range(40)})
    owner.known = Known(("n0",), 2 * MIB)
    asked = [owner.ask(f"n{number}", total=2 * MIB, together=TOTAL) for number in range(1, 30)]
    assert max(told.depth for told in asked) <= 5


def test_receivers_beyond_the_bound_are_refused_or_read_from_a_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "MAX_RECEIVERS", 2)
    owner = Owner()
    assert owner.ask("n0").verdict == Verdict.LEASE
    assert owner.ask("n1").verdict == Verdict.ATTACH

    assert owner.ask("n2").verdict == Verdict.REFUSED
    assert owner.leases.counts["refused"] == 1
    assert owner.ask("n1").verdict == Verdict.ATTACH, "who is in it stays"

    owner.known = Known(("n7",), TOTAL)
    assert (owner.ask("n2").verdict, source(owner.ask("n2"))) == (Verdict.READ, "n7")


def test_a_node_that_gave_its_slot_back_keeps_no_place_from_the_others() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    assert source(owner.ask("n1")) == "n0"
    owner.report("n0", 2 * MIB, token=token)
    owner.report("n1", MIB, parent="n0")
    assert source(owner.ask("n2")) == "n1"
    assert owner.ask("n3", offset=MIB + 1).verdict == Verdict.WAIT, "n0 has its one child"

    owner.report("n1", MIB, state=ProgressState.IDLE)

    [(name, told)] = owner.answers()
    assert (name, source(told)) == ("n3", "n0")
    assert source(owner.ask("n2", failed=("n1",))) == "n3", "what n1 has does not grow"


def test_who_read_from_a_holder_that_died_is_not_waited_for() -> None:
    owner = Owner(Known(("n9",), 4 * MIB))
    for name, offset in (("n1", 2 * MIB), ("n2", MIB)):
        assert owner.ask(name, total=4 * MIB).verdict in {Verdict.READ, Verdict.ATTACH}
        owner.report(name, offset, total=4 * MIB, parent="n9")
    owner.known = Known((), 4 * MIB)
    owner.leases.member_gone("n9", owner.now)

    assert owner.ask("n1", offset=2 * MIB, total=4 * MIB, failed=("n9",)).verdict == Verdict.LEASE


def test_a_node_that_waits_no_more_is_told_nothing() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1", total=0)
    owner.report("n1", 0, state=ProgressState.IDLE)
    owner.known = Known(("n0",), TOTAL)
    owner.report("n0", TOTAL, token=token, state=ProgressState.DONE)

    assert owner.answers() == []
    assert source(owner.ask("n1")) == "n0", "it asks again"


def test_a_lease_that_was_given_as_its_asker_gave_its_slot_back_is_its_when_it_asks_again() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", 0, state=ProgressState.IDLE)
    assert source(owner.ask("n1")) == "n0"
    assert owner.ask("n0").token == token


def test_the_same_zone_goes_first() -> None:
    zones = {"n0": "a", "n1": "b", "n2": "a", "n3": "b"}
    owner = Owner(zones=zones)
    owner.ask("n0", total=2 * MIB)
    owner.ask("n1", total=2 * MIB)
    assert source(owner.ask("n2", total=2 * MIB)) == "n0"
    assert source(owner.ask("n3", total=2 * MIB)) == "n1"


def test_nobody_without_a_total_is_sent_to_a_growing_copy() -> None:
    owner = Owner()
    owner.ask("n0")
    assert owner.ask("n1", total=0).verdict == Verdict.WAIT


def test_who_waits_is_answered_the_moment_somebody_has_it() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    asked = owner.ask("n1", total=0)
    assert owner.answers() == []
    owner.known = Known(("n0",), TOTAL)
    owner.report("n0", TOTAL, token=token, state=ProgressState.DONE)
    [(name, told)] = owner.answers()
    assert (name, told.id, told.verdict, source(told)) == ("n1", asked.id, Verdict.READ, "n0")


def test_a_holder_by_its_own_word_is_read_before_its_record_is_there() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", TOTAL, token=token, state=ProgressState.DONE)
    told = owner.ask("n1")
    assert (told.verdict, source(told)) == (Verdict.ATTACH, "n0")


def test_a_lease_that_does_not_begin_is_lost_after_ten_seconds() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.pass_time(9.5, ("n0", 0, token))
    assert owner.ask("n1").verdict == Verdict.ATTACH
    owner.pass_time(1.0, ("n0", 0, token), ("n1", 0, 0))
    assert owner.ask("n1").verdict == Verdict.LEASE
    assert owner.leases.counts["lost_stalled"] == 1


def test_a_lease_holder_that_falls_silent_is_found_out_in_three_seconds() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.ask("n1")
    owner.pass_time(3.3, ("n1", 0, 0))
    assert owner.ask("n1").verdict == Verdict.LEASE
    assert owner.leases.counts["lost_silent"] == 1


def test_a_growing_lease_is_lost_for_four_of_its_longest_steps_without_one() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    for step in (1, 2, 3):
        owner.pass_time(2.0, ("n0", step * MIB - MIB, token))
        owner.report("n0", step * MIB, token=token)
    counts = [owner.leases.counts["lost_stalled"]]
    for pause in (7.5, 1.0):
        owner.pass_time(pause, ("n0", 3 * MIB, token))
        counts.append(owner.leases.counts["lost_stalled"])
    assert counts == [0, 0, 1]


def test_steps_that_take_ever_longer_buy_a_throttled_line_no_patience() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    offset = 0
    for _ in range(4):
        offset += 12 * MIB
        owner.report("n0", offset, token=token)
        owner.pass_time(0.5)
    # As measured on a line of 1 Mbit/s: a step after 1.2 s, the next one 4.7 s later, then one every 8 s.
    for seconds in (0.7, 4.7):
        owner.pass_time(seconds, ("n0", offset, token))
        offset += MIB
        owner.report("n0", offset, token=token)
    assert owner.leases.counts["lost_stalled"] == 1


def test_a_registry_that_is_slow_for_all_loses_no_lease() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    for number, seconds in enumerate((8.0, 8.0, 16.0, 32.0, 32.0), 1):
        owner.pass_time(seconds, ("n0", (number - 1) * MIB, token))
        owner.report("n0", number * MIB, token=token)
    assert owner.leases.counts["lost_stalled"] == 0


def test_a_lease_that_has_all_its_bytes_is_committing_and_not_stalled() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", TOTAL, token=token)
    owner.pass_time(20.0, ("n0", TOTAL, token))
    assert not owner.leases.counts["lost_stalled"]


def test_what_has_all_its_bytes_is_read_until_it_was_not_committed_for_a_minute() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", TOTAL, token=token)
    owner.pass_time(COMMIT_TIMEOUT - 0.5, ("n0", TOTAL, token))
    assert source(owner.ask("n1")) == "n0"
    owner.pass_time(1.0, ("n0", TOTAL, token))
    assert owner.leases.counts["lost_stalled"] == 1
    # Its bytes may be wrong: what nobody commits is read by nobody new, and somebody else fetches.
    assert owner.ask("n2").verdict == Verdict.LEASE
    owner.pass_time(1.0, ("n0", TOTAL, token), ("n2", MIB, owner.ask("n2").token))
    assert source(owner.ask("n3")) == "n2"


def test_what_is_committed_after_more_than_a_minute_is_read_again() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", TOTAL, token=token)
    owner.pass_time(COMMIT_TIMEOUT + 1.0, ("n0", TOTAL, token))
    owner.report("n0", TOTAL, token=token, state=ProgressState.DONE)
    assert source(owner.ask("n1")) == "n0"


def test_reports_under_a_lost_lease_do_not_bring_it_back() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.pass_time(10.5, ("n0", 0, token))
    owner.report("n0", MIB, token=token)
    assert owner.leases.views(owner.now) == []
    # What it received is worth reading from all the same.
    assert source(owner.ask("n1")) == "n0"


def test_whoever_lost_its_lease_is_read_from_only_where_nobody_else_is() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1")
    owner.report("n0", 10 * MIB, token=token)
    owner.report("n1", 10 * MIB)
    owner.pass_time(3.0, ("n0", 10 * MIB, token))
    assert owner.ask("n1", offset=10 * MIB).verdict == Verdict.LEASE
    assert source(owner.ask("n3")) == "n1"
    owner.report("n3", 40 * MIB)
    owner.report("n0", 11 * MIB, token=token)
    assert source(owner.ask("n2", offset=MIB)) == "n3"
    assert source(owner.ask("n4", offset=MIB, failed=("n1", "n2", "n3"))) == "n0"


def test_whoever_got_a_new_lease_from_another_owner_is_read_from_like_any_other() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", 10 * MIB, token=token)
    owner.now += 4.0
    owner.leases.handle_timer(owner.now)
    assert owner.leases.counts["lost_silent"] == 1
    owner.report("n1", 9 * MIB)
    owner.report("n0", 10 * MIB, token=token + 100)
    owner.report("n0", 20 * MIB, token=token + 100)
    assert source(owner.ask("n2", offset=MIB)) == "n0"


def test_a_node_that_lost_a_lease_without_a_byte_is_not_the_next_to_get_it() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.pass_time(10.5, ("n0", 0, token))
    told = [owner.ask(name).verdict for name in ("n1", "n0")]
    assert told == [Verdict.LEASE, Verdict.ATTACH]


def test_where_all_who_wait_lost_a_lease_without_a_byte_one_of_them_gets_it_and_is_counted() -> None:
    owner = Owner()
    for name in ("n0", "n1"):
        token = owner.ask(name).token
        owner.pass_time(10.5, (name, 0, token))
    told = [owner.ask(name).verdict for name in ("n0", "n1")]
    assert told == [Verdict.LEASE, Verdict.ATTACH]
    assert owner.leases.counts["refused"] == 0


def test_pulls_that_fail_before_a_byte_hold_the_next_lease_back_for_longer_and_longer() -> None:
    owner = Owner()
    owner.report("n0", MIB, token=owner.ask("n0").token)
    owner.report("n0", MIB, state=ProgressState.ENDED)
    assert owner.ask("n1", offset=MIB, failed=("n0",)).verdict == Verdict.LEASE
    began_at = owner.now
    for pause, name, after in ((1.0, "n1", "n2"), (2.0, "n2", "n3"), (4.0, "n3", "n4")):
        owner.report(name, MIB, state=ProgressState.ENDED)
        ended_at = owner.now
        answers: list[tuple[str, FetchTold]] = []
        while not answers:
            assert owner.ask(after, offset=MIB, patiently=False).verdict == Verdict.WAIT
            owner.now += 0.25
            owner.leases.handle_timer(owner.now)
            answers = owner.answers()
        assert [(one, told.verdict) for one, told in answers] == [(after, Verdict.LEASE)]
        assert pause <= owner.now - ended_at <= pause + 0.25
    assert owner.now - began_at < 8.0


def test_a_byte_ends_the_pauses_and_who_cannot_wait_heeds_none() -> None:
    owner = Owner()
    for name in ("n0", "n1", "n2"):
        assert owner.ask(name, offset=MIB, is_urgent=True).verdict == Verdict.LEASE
        owner.report(name, MIB, state=ProgressState.ENDED)
    told = owner.ask("n3", offset=MIB, is_urgent=True)
    assert told.verdict == Verdict.LEASE
    owner.report("n3", 2 * MIB, token=told.token)
    owner.report("n3", 2 * MIB, state=ProgressState.ENDED)
    owner.ask("n4")
    owner.report("n4", 0, state=ProgressState.ENDED)
    owner.now += FAILED_PAUSE
    assert owner.ask("n5", patiently=False).verdict == Verdict.LEASE


def test_a_blob_that_its_registry_refuses_for_days_is_still_leased() -> None:
    owner = Owner()
    for _ in range(2_000):
        assert owner.ask("n0", is_urgent=True).verdict == Verdict.LEASE
        owner.report("n0", 0, state=ProgressState.ENDED)


def test_who_is_furthest_goes_on_for_those_who_wait() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.report("n0", 0, state=ProgressState.ENDED)
    for name, offset in (("n2", 3 * MIB), ("n3", 5 * MIB), ("n4", 4 * MIB)):
        assert owner.ask(name, offset=offset, patiently=False).verdict == Verdict.WAIT
    owner.now += FAILED_PAUSE
    owner.leases.handle_timer(owner.now)
    told = {name: (one.verdict, [NAMES[by] for by in one.sources]) for name, one in owner.answers()}
    assert told["n3"] == (Verdict.LEASE, [])
    assert {verdict for name, (verdict, _) in told.items() if name != "n3"} == {Verdict.ATTACH}


def test_whoever_may_not_know_of_its_lease_gets_it_again() -> None:
    owner = Owner()
    assert owner.ask("n0").verdict == Verdict.LEASE
    assert owner.ask("n1").verdict == Verdict.ATTACH
    owner.pass_time(3.5)
    assert owner.leases.counts["lost_silent"] == 1
    assert owner.ask("n0").verdict == Verdict.LEASE


def test_a_holder_that_asks_again_is_not_silent() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.pass_time(2.9)
    assert owner.ask("n0").token == token
    owner.pass_time(2.9)
    assert owner.leases.counts["lost_silent"] == 0


def test_of_the_leases_that_two_owners_gave_one_node_the_one_that_it_speaks_of_is_kept() -> None:
    owner = Owner()
    lost = owner.ask("n0").token
    for number in range(8):
        owner.now += 0.5
        owner.report("n0", number * MIB, token=lost + 1_000)
        owner.leases.handle_timer(owner.now)
    assert sum(owner.leases.counts[f"lost_{why}"] for why in ("silent", "stalled", "ended")) == 0
    assert owner.ask("n1").verdict == Verdict.ATTACH


def test_after_three_losses_everybody_is_refused_for_a_while() -> None:
    owner = Owner()
    for name in ("n0", "n1", "n2"):
        assert owner.ask(name).verdict == Verdict.LEASE
        owner.pass_time(3.5)
    assert owner.ask("n3").verdict == Verdict.REFUSED
    owner.pass_time(REFUSAL_INTERVAL + 0.5)
    assert owner.ask("n4").verdict == Verdict.LEASE


def test_reports_that_were_lost_make_no_lease_last_longer() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    for offset in (10 * MIB, 40 * MIB):
        owner.now += 1.9
        owner.report("n0", offset, token=token)
    owner.pass_time(2.5, ("n0", 40 * MIB, token))
    assert owner.leases.counts["lost_stalled"] == 1


@pytest.mark.parametrize(("burst", "pause"), [(8, 3.0), (8, 6.0), (4, 5.0), (32, 9.0)])
def test_what_comes_in_bursts_is_no_stall(burst: int, pause: float) -> None:
    owner = Owner()
    token = owner.ask("n0").token
    for number in range(3):
        owner.pass_time(pause, ("n0", number * burst * MIB, token))
        owner.report("n0", (number + 1) * burst * MIB, token=token)
    assert owner.leases.counts["lost_stalled"] == 0


def test_a_holder_reports_as_often_as_its_owner_thinks() -> None:
    assert spread.REPORT_INTERVAL == receptions.REPORT_INTERVAL


def test_who_sits_next_to_the_fault_takes_over_and_its_children_stay() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.ask("n1")
    owner.ask("n2")
    owner.report("n1", 10 * MIB)
    owner.report("n2", 9 * MIB)
    owner.leases.member_gone("n0", owner.now)
    assert owner.ask("n1", offset=10 * MIB, failed=("n0",)).verdict == Verdict.LEASE
    told = owner.ask("n2", offset=9 * MIB)
    assert (told.verdict, source(told)) == (Verdict.ATTACH, "n1")


def test_nobody_is_sent_to_its_own_descendants() -> None:
    owner = Owner()
    owner.ask("n0")
    owner.ask("n1")
    owner.ask("n2")
    owner.report("n1", MIB)
    owner.report("n2", MIB)
    told = owner.ask("n1", offset=MIB, stalled=("n0",))
    assert told.verdict != Verdict.ATTACH or source(told) == "n0"


def test_a_source_that_has_no_more_to_send_is_not_blamed_for_sending_nothing() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1")
    owner.report("n0", 5 * MIB, token=token)
    assert source(owner.ask("n1", offset=4 * MIB, stalled=("n0",))) == "n0"
    owner.report("n0", 50 * MIB, token=token)
    owner.pass_time(0.5, ("n0", 50 * MIB, token))
    assert owner.ask("n1", offset=4 * MIB, stalled=("n0",)).verdict == Verdict.LEASE


def test_a_source_is_not_blamed_for_what_it_got_after_it_was_given_up() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1")
    owner.report("n0", 5 * MIB, token=token)
    owner.pass_time(3.0, ("n0", 5 * MIB, token), ("n1", 5 * MIB, 0))
    # n1 gave it up and met a silent owner first; meanwhile n0 was told to fetch, and does.
    token = owner.ask("n0", offset=5 * MIB).token
    owner.report("n0", 20 * MIB, token=token)
    assert source(owner.ask("n1", offset=5 * MIB, stalled=("n0",), stalled_ago=0.6)) == "n0"
    # The same complaint, told with a later question, is as old as it is.
    owner.pass_time(0.5, ("n0", 30 * MIB, token))
    owner.pass_time(0.5, ("n0", 40 * MIB, token))
    assert source(owner.ask("n1", offset=5 * MIB, stalled=("n0",), stalled_ago=1.6)) == "n0"
    assert owner.ask("n1", offset=5 * MIB, stalled=("n0",)).verdict == Verdict.LEASE, "it has had it"


def test_who_has_it_all_by_now_is_not_blamed_for_when_it_had_not() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.ask("n1")
    owner.report("n0", 5 * MIB, token=token)
    owner.pass_time(3.0, ("n0", 5 * MIB, token), ("n1", 5 * MIB, 0))
    owner.report("n0", TOTAL, state=ProgressState.DONE)
    owner.known = Known(("n0",), TOTAL)
    owner.pass_time(2.0)
    assert source(owner.ask("n1", offset=5 * MIB, stalled=("n0",), stalled_ago=3.0)) == "n0"
    assert owner.ask("n1", offset=5 * MIB, stalled=("n0",)).verdict == Verdict.LEASE, "it has had it"


def test_an_owner_waits_for_the_word_of_a_node_that_another_reads_from() -> None:
    owner = Owner()
    # It was cut off while another owner granted and named sources, and hears of them one by one.
    owner.report("n2", 9 * MIB, parent="n1")
    assert owner.ask("n3", offset=5 * MIB).verdict == Verdict.WAIT
    owner.report("n1", 20 * MIB, token=7)
    assert [(name, source(told)) for name, told in owner.answers()] == [("n3", "n2")]


def test_an_owner_waits_for_no_word_of_a_node_that_is_gone() -> None:
    owner = Owner()
    token = owner.ask("n1").token
    assert source(owner.ask("n2", together=TOTAL)) == "n1"
    owner.report("n1", 10 * MIB, token=token)
    owner.report("n2", 9 * MIB)
    owner.report("n1", 10 * MIB, state=ProgressState.ENDED)
    assert owner.ask("n3", offset=9 * MIB).verdict == Verdict.LEASE


def test_whoever_lost_its_source_may_have_the_slot_that_this_had() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", 10 * MIB, token=token)
    for name, above in [("n1", "n0"), ("n2", "n1"), ("n3", "n2")]:
        assert source(owner.ask(name, together=TOTAL)) == above, "a chain"
        owner.report(name, 9 * MIB, parent=above)
    assert source(owner.ask("n4", together=TOTAL)) == "n3", "nobody else may"
    assert source(owner.ask("n2", offset=9 * MIB, failed=("n1",))) == "n0"


def test_a_holder_of_which_nothing_is_heard_has_until_it_is_silent_for_long() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    owner.pass_time(2.75)
    owner.report("n0", 20 * MIB, token=token)
    assert [view.holder for view in owner.leases.views(owner.now)] == ["n0"]
    owner.pass_time(3.25)
    assert (owner.leases.counts["lost_silent"], owner.leases.counts["lost_stalled"]) == (1, 0)


def test_at_most_three_fetch_at_the_same_time() -> None:
    owner = Owner()
    verdicts = [owner.ask(name, failed=tuple(NODES), is_urgent=True).verdict for name in NODES]
    assert verdicts.count(Verdict.LEASE) == 3


def test_a_young_owner_says_so_unless_it_must_decide() -> None:
    owner = Owner(Known(is_young=True))
    assert owner.ask("n0").verdict == Verdict.YOUNG
    assert owner.ask("n0", must_decide=True).verdict == Verdict.LEASE


def test_an_owner_that_is_not_the_first_grants_only_when_it_must() -> None:
    owner = Owner(Known(is_first=False))
    assert owner.ask("n0").verdict == Verdict.YOUNG
    assert owner.ask("n0", must_decide=True).verdict == Verdict.LEASE


def test_the_first_owner_of_a_minute_ago_decides_without_being_told_that_it_was() -> None:
    # A newcomer asks it without knowing what it was; all others ask it because they know.
    owner = Owner(Known(is_first=False, is_former=True))
    assert owner.ask("n0").verdict == Verdict.LEASE
    assert source(owner.ask("n1", must_decide=True)) == "n0"


def test_the_second_owner_learns_of_leases_by_progress() -> None:
    owner = Owner(Known(is_first=False))
    owner.report("n0", MIB, token=77)
    told = owner.ask("n1", must_decide=True)
    assert (told.verdict, source(told)) == (Verdict.ATTACH, "n0")


def test_small_blobs_that_some_have_are_read_without_a_word_more() -> None:
    owner = Owner(Known(("n8", "n9"), 10_000))
    told = owner.ask("n0", total=10_000)
    assert told.verdict == Verdict.READ
    assert {NAMES[one] for one in told.sources} == {"n8", "n9"}
    assert owner.leases.next_timer_at() is None


def test_a_large_blob_that_one_has_is_spread_by_those_who_receive_it() -> None:
    owner = Owner(Known(("n9",), TOTAL))
    told = [owner.ask(name) for name in NODES[:7]]
    assert [source(one) for one in told].count("n9") <= 2
    assert {one.verdict for one in told} == {Verdict.READ, Verdict.ATTACH}
    assert owner.leases.counts["granted"] == 0


def test_who_waits_behind_a_node_that_shows_no_byte_is_sent_to_one_that_has_it_all() -> None:
    owner = Owner(Known(("n0",), TOTAL))
    assert source(owner.ask("n1", together=TOTAL)) == "n0"
    assert source(owner.ask("n2", together=TOTAL)) == "n1"
    assert source(owner.ask("n2", together=TOTAL, stalled=("n1",))) == "n1", "its chain may be long"
    assert source(owner.ask("n2", together=TOTAL, stalled=("n1", "n1"))) == "n0"


def test_a_late_report_gives_nobody_its_source_back() -> None:
    owner = Owner(Known(("n0",), TOTAL))
    owner.ask("n1")
    owner.leases.noted_holder(KEY, "n1", owner.now)
    owner.report("n1", TOTAL, parent="n0")
    spreading = owner.leases.spread_of(KEY)
    assert spreading is not None
    assert spreading.load("n0") == 0


def test_a_root_that_never_said_what_it_lacked_gets_more_children_too() -> None:
    owner = Owner(zones=dict.fromkeys(NODES, "z"))
    lease = owner.ask("n0", total=2 * MIB)
    for name in NODES[1:9]:
        owner.ask(name, total=2 * MIB, together=TOTAL)
    for step in range(12):
        owner.now += 0.25
        owner.report("n0", MIB + step, token=lease.token, total=2 * MIB, has_spare=True)
    spreading = owner.leases.spread_of(KEY)
    assert spreading is not None
    assert spreading.receivers["n0"].extra > 0


def test_those_who_ask_one_after_the_other_do_not_all_read_from_the_same_holder() -> None:
    owner = Owner()
    owner.known = Known(("n0",), TOTAL)
    read_from = []
    for name in NODES[1:7]:
        read_from.append(source(owner.ask(name)))
        owner.report(name, TOTAL, state=ProgressState.DONE)
        owner.known = Known((*owner.known.holders, name), TOTAL)
    assert max(Counter(read_from).values()) == 1


def test_a_busy_holder_is_better_than_upstream() -> None:
    owner = Owner(Known(("n9",), TOTAL))
    for name in NODES[:3]:
        owner.ask(name)
    told = owner.ask("n5", failed=("n0", "n1", "n2"))
    assert (told.verdict, source(told)) == (Verdict.READ, "n9")


def test_a_receiver_whose_ingest_ended_is_nobodys_source() -> None:
    owner = Owner()
    token = owner.ask("n0").token
    owner.report("n0", MIB, token=token)
    owner.report("n0", 0, state=ProgressState.ENDED)
    assert owner.ask("n1").verdict == Verdict.LEASE
    assert owner.leases.counts["lost_ended"] == 1


def test_who_waits_is_answered_the_moment_the_record_of_a_holder_comes() -> None:
    owner = Owner()
    owner.ask("n0")
    asked = owner.ask("n1", total=0)
    owner.known = Known(("n2",), TOTAL)
    owner.leases.noted_holder(KEY, "n2", owner.now)
    [(name, told)] = owner.answers()
    assert (name, told.id, told.verdict, source(told)) == ("n1", asked.id, Verdict.READ, "n2")


def test_the_record_of_a_reader_frees_the_slot_of_its_source() -> None:
    owner = Owner()
    owner.ask("n0")
    assert source(owner.ask("n1")) == "n0"
    assert source(owner.ask("n2")) == "n1"
    owner.leases.noted_holder(KEY, "n1", owner.now)
    assert source(owner.ask("n3")) in {"n0", "n1"}
    spread = owner.leases.spread_of(KEY)
    assert spread is not None
    assert spread.receivers["n1"].is_done
    assert spread.receivers["n1"].parent is None


def test_a_record_of_what_nobody_is_receiving_changes_nothing() -> None:
    owner = Owner()
    owner.leases.noted_holder(KEY, "n0", owner.now)
    assert owner.leases.spread_of(KEY) is None
    assert owner.leases.next_timer_at() is None
