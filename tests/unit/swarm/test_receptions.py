from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.patience import MAX_YIELDS, YIELD_MEMORY, Yields, stall_patience
from spegel_gossip.swarm.receptions import (
    IDLE_TIMEOUT,
    LATE_INTERVAL,
    MAX_RECEPTIONS,
    REPORT_INTERVAL,
    SLOT_MARGIN,
    SLOT_PATIENCE,
    Receptions,
    ReceptionState,
)

A, B = (Digest.parse(f"sha256:{letter * 64}") for letter in "ab")
MIB = 1 << 20


def arriving(*digests: Digest) -> Receptions:
    receptions = Receptions()
    for digest in digests:
        receptions.asked(digest, offset=0, total=10 * MIB, now=0.0)
    return receptions


def test_what_was_never_asked_for_is_nobodys_business() -> None:
    receptions = Receptions()
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.0)
    receptions.ended(A, is_done=True)
    assert receptions.report(0.0) is None


def test_what_arrives_is_reported_twice_a_second() -> None:
    receptions = arriving(A)
    assert receptions.report(0.0) is not None
    assert receptions.report(REPORT_INTERVAL - 0.01) is None
    assert receptions.report(REPORT_INTERVAL) is not None


def test_a_lease_the_first_step_and_the_end_are_reported_at_once() -> None:
    receptions = arriving(A)
    receptions.report(0.0)
    receptions.leased(A, 7, now=0.0)
    report = receptions.report(0.01)
    assert report is not None
    assert report.receptions[0].token == 7
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.02)
    assert receptions.report(0.02) is not None
    receptions.changed(A, offset=2 * MIB, total=10 * MIB, now=0.03)
    assert receptions.report(0.03) is None
    receptions.ended(A, is_done=True)
    report = receptions.report(0.04)
    assert report is not None
    assert report.receptions[0].state is ReceptionState.DONE


def test_between_two_rounds_owners_hear_only_of_the_blob_that_has_news() -> None:
    receptions = arriving(A, B)
    receptions.report(0.0)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.1)
    assert receptions.next_report_at() == 0.0

    news = receptions.report(0.1)
    assert news is not None
    assert [one.digest for one in news.receptions] == [A]
    assert (news.sharing, news.is_growing) == (1, True)
    assert receptions.report(0.2) is None

    # The round comes when it would have come, tells of all, and still says that something grew.
    assert receptions.next_report_at() == REPORT_INTERVAL
    everything = receptions.report(REPORT_INTERVAL)
    assert everything is not None
    assert [one.digest for one in everything.receptions] == [A, B]
    assert everything.is_growing


def test_that_a_request_ended_is_told_at_once_and_once_more() -> None:
    receptions = arriving(A)
    receptions.attached(A, 5, parent="n1")
    receptions.report(0.0)
    receptions.left(A, 0.0)
    for now in (0.1, REPORT_INTERVAL):
        report = receptions.report(now)
        assert report is not None
        [one] = report.receptions
        assert (one.state, one.parent) == (ReceptionState.IDLE, "")
    assert receptions.report(1.0) is None
    assert receptions.next_report_at() is None

    assert receptions.is_given_up(A, 0)
    assert not receptions.is_given_up(A, 1), "it comes again, and goes on from there"

    receptions.asked(A, offset=0, total=10 * MIB, now=1.0)
    assert not receptions.is_given_up(A, 0)
    report = receptions.report(1.0)
    assert report is not None
    assert report.receptions[0].state is ReceptionState.ARRIVING


def test_an_end_that_comes_after_nobody_was_told_of_it_any_more_is_told() -> None:
    receptions = arriving(A)
    receptions.left(A, 0.0)
    for now in (0.0, 1.0):
        assert receptions.report(now) is not None
    receptions.ended(A, is_done=True)
    for now in (2.0, 3.0):
        report = receptions.report(now)
        assert report is not None
        assert report.receptions[0].state is ReceptionState.DONE
    assert receptions.report(4.0) is None


def test_what_grows_without_a_request_of_ours_arrives_all_the_same() -> None:
    receptions = arriving(A)
    receptions.left(A, 0.0)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=LATE_INTERVAL)
    report = receptions.report(LATE_INTERVAL)
    assert report is not None
    assert report.receptions[0].state is ReceptionState.ARRIVING


def test_bytes_that_were_under_way_as_a_request_ended_are_no_sign_of_more() -> None:
    receptions = arriving(A)
    receptions.attached(A, 5, parent="n1")
    receptions.left(A, 0.0)
    receptions.changed(A, offset=3 * MIB, total=10 * MIB, now=0.1)
    report = receptions.report(0.1)
    assert report is not None
    assert (report.receptions[0].state, report.receptions[0].offset) == (ReceptionState.IDLE, 3 * MIB)


def test_a_lease_outlives_the_request_that_got_it() -> None:
    receptions = arriving(A)
    receptions.leased(A, 7, now=0.0)
    receptions.left(A, 0.0)
    report = receptions.report(0.0)
    assert report is not None
    assert (report.receptions[0].state, report.sharing) == (ReceptionState.ARRIVING, 1)
    assert receptions.waiting_leases() == 1


def test_what_is_leased_or_read_arrives_again_though_a_request_for_it_ended() -> None:
    receptions = arriving(A, B)
    for digest in (A, B):
        receptions.left(digest, 0.0)
    receptions.leased(A, 7, now=0.0)
    receptions.attached(B, 3, "o", "n1")
    assert [one.digest for one in receptions.leases()] == [A]
    assert not any(receptions.is_given_up(digest, 0) for digest in (A, B))


def test_leases_that_a_crowd_waits_for_want_the_slots_of_other_requests() -> None:
    c = Digest.parse("sha256:" + "c" * 64)
    receptions = arriving(A, B, c)
    receptions.leased(A, 7, now=0.0)
    receptions.leased(B, 8, now=0.0)
    assert not receptions.want_slots(but=c, now=0.0), "nobody waits for them"
    receptions.crowded(0.0)
    assert receptions.want_slots(but=c, now=0.1)
    receptions.asked(c, offset=0, total=10 * MIB, now=0.1)
    receptions.leased(c, 9, now=0.1)
    assert not receptions.want_slots(but=c, now=0.1), "what is leased here is told so at once"
    receptions.ended(c, is_done=True)
    assert receptions.want_slots(but=Digest.parse("sha256:" + "d" * 64), now=0.1)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.1)
    assert not receptions.want_slots(but=Digest.parse("sha256:" + "d" * 64), now=0.1)


def test_a_lease_that_waits_long_is_let_through_and_who_is_in_line_before_it_gives_way() -> None:
    c = Digest.parse("sha256:" + "c" * 64)
    receptions = arriving(A, B, c)
    receptions.leased(A, 7, now=0.0)
    receptions.leased(B, 8, now=0.5)
    receptions.changed(B, offset=MIB, total=10 * MIB, now=0.6)
    assert not receptions.open_line(SLOT_PATIENCE - 0.1), "its request may be on its way"
    assert receptions.open_line(SLOT_PATIENCE)
    assert not receptions.open_line(SLOT_PATIENCE + 0.1), "one slot is enough"
    assert receptions.want_slots(but=c, now=SLOT_PATIENCE + 0.1), "though nobody is known to wait"
    assert not receptions.want_slots(but=A, now=SLOT_PATIENCE + 0.1)
    assert receptions.open_line(2 * SLOT_PATIENCE), "it did not help"
    assert not receptions.open_line(3.9 * SLOT_PATIENCE), "so it may be the registry that is slow"
    receptions.slot_came_back(2 * SLOT_PATIENCE + SLOT_MARGIN)
    assert not receptions.want_slots(but=c, now=2 * SLOT_PATIENCE + 0.1)
    assert not receptions.open_line(4 * SLOT_PATIENCE), "all that was in line before it is through"


def test_no_line_is_opened_for_a_lease_that_gets_its_bytes() -> None:
    receptions = arriving(A)
    receptions.leased(A, 7, now=0.0)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.5)
    assert not receptions.open_line(10.0)


def test_a_lease_that_is_older_than_a_slot_which_came_back_does_not_wait_for_one() -> None:
    receptions = arriving(A, B)
    receptions.leased(A, 7, now=0.0)
    receptions.leased(B, 8, now=2.0)
    receptions.slot_came_back(1.0)
    assert (receptions.waiting_leases(), receptions.waiting_leases(but=B)) == (1, 0)
    receptions.slot_came_back(2.0 + SLOT_MARGIN / 2)
    assert receptions.waiting_leases() == 1, "its upstream request may have come to the line after that"
    receptions.slot_came_back(2.1 + SLOT_MARGIN)
    assert receptions.waiting_leases() == 0
    receptions.slot_came_back(0.0)
    assert receptions.waiting_leases() == 0, "what is known stays known"


def test_an_end_is_told_twice_and_lasts_until_the_next_pull() -> None:
    receptions = arriving(A)
    receptions.ended(A, is_done=False)
    assert receptions.report(1.0) is not None
    assert receptions.report(2.0) is not None
    assert receptions.report(3.0) is None
    assert receptions.next_report_at() is None
    # Whoever reads what is here of it looks later than that.
    assert receptions.is_given_up(A, 5 * MIB)
    receptions.asked(A, offset=5 * MIB, total=10 * MIB, now=4.0)
    assert not receptions.is_given_up(A, 5 * MIB)


def test_a_pull_that_went_on_before_the_end_of_the_last_one_was_heard_of_is_none_that_ended() -> None:
    receptions = arriving(A, B)
    for digest in (A, B):
        receptions.ended(digest, is_done=False)
    receptions.leased(A, 7, now=0.1)
    receptions.changed(B, offset=MIB, total=10 * MIB, now=0.1)
    assert [one.digest for one in receptions.leases()] == [A]
    assert not any(receptions.is_given_up(digest, MIB) for digest in (A, B))
    report = receptions.report(0.1)
    assert report is not None
    assert {one.state for one in report.receptions} == {ReceptionState.ARRIVING}


def test_an_ingest_that_a_cancelled_pull_left_behind_is_forgotten() -> None:
    receptions = arriving(A)
    assert receptions.report(IDLE_TIMEOUT) is not None
    assert receptions.next_report_at() is None


def test_whatever_grows_here_shows_that_the_line_is_alive() -> None:
    receptions = arriving(A, B)
    receptions.leased(B, 7, now=0.0)
    receptions.attached(A, 5)
    report = receptions.report(0.0)
    assert report is not None
    assert not report.is_growing
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.1)
    report = receptions.report(0.1)
    assert report is not None
    assert (report.is_growing, report.sharing) == (True, 1)


def test_a_lease_that_waits_for_a_slot_shares_the_line_with_those_that_have_the_slots() -> None:
    receptions = arriving(A, B)
    for digest in (A, B):
        receptions.leased(digest, 7, now=0.0)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.1)
    report = receptions.report(0.1)
    assert report is not None
    assert report.sharing == 2


def test_a_lease_that_goes_on_in_the_middle_waits_for_its_first_step_too() -> None:
    receptions = arriving(A)
    receptions.attached(A, 5)
    receptions.changed(A, offset=3 * MIB, total=10 * MIB, now=0.1)
    receptions.leased(A, 7, now=0.0)
    assert receptions.waiting_leases() == 1
    receptions.changed(A, offset=4 * MIB, total=10 * MIB, now=0.2)
    assert receptions.waiting_leases() == 0


def test_others_are_seen_for_two_seconds() -> None:
    receptions = arriving(A)
    assert not receptions.is_crowded(0.0)
    receptions.crowded(0.0)
    assert receptions.is_crowded(1.9)
    assert not receptions.is_crowded(2.0)


def test_a_lease_is_byteless_until_its_first_step() -> None:
    receptions = arriving(A, B)
    receptions.leased(A, 7, now=0.0)
    assert (receptions.waiting_leases(), receptions.waiting_leases(but=A)) == (1, 0)
    receptions.changed(A, offset=MIB, total=10 * MIB, now=0.1)
    assert receptions.waiting_leases() == 0
    assert [one.digest for one in receptions.leases()] == [A]


def test_no_more_is_followed_than_there_is_room_for() -> None:
    receptions = Receptions()
    for number in range(MAX_RECEPTIONS + 10):
        receptions.asked(Digest("sha256", f"{number:064x}"), offset=0, total=1, now=0.0)
    report = receptions.report(0.0)
    assert report is not None
    assert len(report.receptions) == MAX_RECEPTIONS


def test_a_slot_is_given_back_twice_for_a_blob_and_no_more() -> None:
    yields = Yields()
    for _ in range(MAX_YIELDS):
        assert yields.may_yield(A, 0.0)
        yields.yielded(A, 0.0)
    assert not yields.may_yield(A, 1.0)
    assert yields.may_yield(B, 1.0)
    assert yields.may_yield(A, YIELD_MEMORY + 1.0)
    yields.began(A)
    assert yields.may_yield(A, 1.0)


def test_who_is_nearer_to_upstream_loses_patience_first() -> None:
    patience = [stall_patience(depth) for depth in range(1, 40)]
    assert patience == sorted(patience)
    assert patience[-1] < 20.0


def test_the_last_answer_that_containerd_bears_has_the_time_of_those_that_gave_a_slot_back() -> None:
    yields = Yields()
    assert yields.hold_timeout(A, 20.0, 0.0) == 20.0
    yields.yielded(A, 0.5)
    assert yields.hold_timeout(A, 20.0, 0.5) == 20.0
    yields.yielded(A, 1.0)
    assert yields.hold_timeout(A, 20.0, 1.0) == 39.5
    assert yields.hold_timeout(A, 20.0, 50.0) == 20.0
    assert yields.hold_timeout(B, 20.0, 1.0) == 20.0


def test_slots_given_back_for_as_long_as_they_may_be_leave_the_last_answer_its_usual_time() -> None:
    yields = Yields()
    for at in (20.0, 40.0):
        yields.yielded(A, at)
    assert yields.hold_timeout(A, 20.0, 40.0) == 20.0
