from dataclasses import replace

import pytest

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.conflicts import CONFLICT_AGE
from spegel_gossip.swim.events import (
    BootRaised,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MembershipEvent,
    MemberSuspected,
    MemberUpdated,
    NameConflicted,
)
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ping
from spegel_gossip.testing.solo_engine import SoloEngine
from spegel_gossip.testing.swim_values import BOOT, address_of, make_claim, make_record

ALIVE, SUSPECT, DEAD, LEFT = MemberState
OTHERS = ("n1", "n2", "n3", "n4", "n5", "n6")
ELSEWHERE = Address("10.8.8.8", 7)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("claims", "events"),
    [
        ([make_claim("x")], [MemberJoined]),
        ([make_claim("x"), make_claim("x")], [MemberJoined]),
        ([make_claim("x", SUSPECT)], [MemberJoined, MemberSuspected]),
        ([make_claim("x", DEAD)], []),
        ([make_claim("x", LEFT), make_claim("x")], []),
        ([make_claim("x"), make_claim("x", SUSPECT)], [MemberJoined, MemberSuspected]),
        ([make_claim("x"), make_claim("x", DEAD)], [MemberJoined, MemberDied]),
        ([make_claim("x"), make_claim("x", LEFT)], [MemberJoined, MemberLeft]),
        ([make_claim("x", DEAD), make_claim("x", incarnation=BOOT + 1)], [MemberJoined]),
        (
            [make_claim("x"), make_claim("x", SUSPECT), make_claim("x", incarnation=BOOT + 1)],
            [MemberJoined, MemberSuspected, MemberRefuted],
        ),
        (
            [make_claim("x"), make_claim("x", incarnation=BOOT + 1, record=make_record("x", zone="b"))],
            [MemberJoined, MemberUpdated],
        ),
        (
            [make_claim("x"), make_claim("x", incarnation=BOOT + 9, record=make_record("x", boot=BOOT + 9))],
            [MemberJoined, MemberJoined],
        ),
        (
            [make_claim("x"), make_claim("x", SUSPECT), make_claim("x", SUSPECT, incarnation=BOOT + 1)],
            [MemberJoined, MemberSuspected, MemberSuspected],
        ),
    ],
)
def test_each_change_is_told_once(claims: list[Claim], events: list[type[MembershipEvent]]) -> None:
    solo = SoloEngine("n1")
    for claim in claims:
        solo.hear("n1", claim)
    assert [type(event) for event in solo.events] == events


@pytest.mark.parametrize("state", [DEAD, LEFT])
@pytest.mark.parametrize("incarnation", [BOOT - 1, BOOT])
def test_no_old_claim_brings_an_ex_member_back(state: MemberState, incarnation: int) -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("x", state))
    solo.hear("n1", make_claim("x", incarnation=incarnation))
    solo.push_pull("n1", [make_claim("x", incarnation=incarnation)])
    assert solo.state_of("x") is state
    assert solo.events == []


def test_a_death_at_a_higher_incarnation_raises_a_tombstone() -> None:
    # memberlist's hole (al8n/memberlist#197): alive at 5 would bring back one dead at 10.
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("x", DEAD), make_claim("x", DEAD, incarnation=BOOT + 10))
    solo.hear("n1", make_claim("x", incarnation=BOOT + 5))
    assert solo.state_of("x") is DEAD


def test_a_death_told_by_push_pull_is_a_suspicion_by_the_peer() -> None:
    solo = SoloEngine(*OTHERS)
    solo.push_pull("n2", [make_claim("n1", DEAD, accuser="n5")])
    member = solo.engine.get("n1")
    assert member is not None
    assert solo.events == [MemberSuspected(member, "n2")]
    solo.run_until(solo.now + 30.0)
    assert [type(event) for event in solo.events] == [MemberSuspected, MemberDied]


def test_a_leave_told_by_push_pull_is_a_leave() -> None:
    solo = SoloEngine(*OTHERS)
    solo.push_pull("n2", [make_claim("n1", LEFT)])
    assert [type(event) for event in solo.events] == [MemberLeft]


def test_a_death_of_somebody_unknown_told_by_push_pull_is_a_tombstone() -> None:
    solo = SoloEngine("n1")
    solo.push_pull("n1", [make_claim("x", DEAD)])
    assert (solo.state_of("x"), solo.events) == (DEAD, [])


def test_a_suspicion_ends_in_death_sooner_the_more_confirm_it() -> None:
    def died_after(*accusers: str) -> float:
        solo = SoloEngine(*OTHERS)
        began_at = solo.now
        for accuser in accusers:
            solo.hear(accuser, make_claim("n1", SUSPECT, accuser=accuser))
        while solo.state_of("n1") is not DEAD:
            solo.run_until(solo.now + 0.1)
        return solo.now - began_at

    assert died_after("n2") == pytest.approx(24.0, abs=0.2)
    assert died_after("n2", "n2", "n2") == pytest.approx(24.0, abs=0.2)
    assert died_after("n2", "n3") == pytest.approx(14.0, abs=0.2)
    assert died_after("n2", "n3", "n4", "n5") == pytest.approx(4.0, abs=0.2)


def test_a_confirmation_that_comes_too_late_declares_nobody_dead_again() -> None:
    # memberlist's TestSuspicion_Timer: a timer that fired does not fire again.
    solo = SoloEngine(*OTHERS)
    solo.hear("n2", make_claim("n1", SUSPECT, accuser="n2"))
    solo.run_until(solo.now + 30.0)
    for accuser in ("n3", "n4", "n5"):
        solo.hear(accuser, make_claim("n1", SUSPECT, accuser=accuser))
    solo.run_until(solo.now + 60.0)
    assert [type(event) for event in solo.events] == [MemberSuspected, MemberDied]
    assert solo.engine.counters.deaths_declared == 1


def test_confirmations_that_count_are_passed_on_and_later_ones_are_not() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n2", make_claim("n1", SUSPECT, accuser="n2"))
    passed_on = []
    for accuser in ("n3", "n3", "n4", "n5", "n6"):
        solo.run_dry()
        solo.hear(accuser, make_claim("n1", SUSPECT, accuser=accuser))
        passed_on.append(solo.engine.queue_length == 1)
    assert passed_on == [True, False, True, True, False]
    detail = solo.engine.detail("n1", solo.now)
    assert detail is not None
    assert detail.accusers == ("n2", "n3", "n4", "n5")
    assert detail.suspicion_left is not None


def test_who_accuses_a_refuted_incarnation_is_put_right() -> None:
    solo = SoloEngine(*OTHERS)
    newer = make_claim("n1", incarnation=BOOT + 1)
    solo.hear("n1", newer)
    solo.forget()
    solo.hear("n2", make_claim("n1", SUSPECT, accuser="n2"))
    assert [(sent.target, sent.message) for sent in solo.sent] == [("n2", newer)]


def test_who_accuses_our_own_old_incarnation_is_put_right() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n0", SUSPECT))
    solo.forget()
    solo.hear("n2", make_claim("n0", SUSPECT))
    assert [(sent.target, sent.message) for sent in solo.sent] == [
        ("n2", make_claim("n0", incarnation=BOOT + 1))
    ]
    assert solo.engine.own.incarnation == BOOT + 1


def test_a_death_is_no_answer_to_a_suspicion() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n3", DEAD, incarnation=BOOT + 1))
    solo.forget()
    solo.hear("n2", make_claim("n3", SUSPECT))
    assert solo.sent == []


@pytest.mark.parametrize("state", [SUSPECT, DEAD, LEFT])
def test_what_is_said_against_us_is_refuted_at_a_higher_incarnation(state: MemberState) -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n0", state, incarnation=BOOT + 6))
    assert (solo.engine.own.state, solo.engine.own.incarnation) == (ALIVE, BOOT + 7)
    solo.run_until(solo.now + 1.0)
    assert make_claim("n0", incarnation=BOOT + 7) in [sent.message for sent in solo.sent]


def test_what_others_say_of_our_record_is_put_right() -> None:
    # memberlist's TestMemberList_AliveNode_Refute.
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n0", incarnation=BOOT + 3, record=make_record("n0", zone="elsewhere")))
    assert solo.engine.own.record == make_record("n0")
    assert (solo.engine.own.state, solo.engine.own.incarnation) == (ALIVE, BOOT + 4)


def test_a_forged_incarnation_that_nobody_could_outdo_is_left_alone() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("n0", DEAD, incarnation=INCARNATION_LIMIT - 1))
    assert solo.engine.own.incarnation == BOOT


def test_the_boot_is_raised_past_a_later_life_at_our_address() -> None:
    # The clock went back between two lives.
    solo = SoloEngine("n1")
    earlier = make_record("n0", boot=BOOT + 1000)
    solo.hear("n1", make_claim("n0", incarnation=BOOT + 1003, record=earlier))
    assert solo.engine.own.record.boot == BOOT + 1001
    assert solo.engine.own.incarnation == BOOT + 1004
    assert solo.events == [BootRaised(BOOT + 1001)]


def test_an_earlier_life_that_is_remembered_as_dead_does_not_touch_our_boot() -> None:
    solo = SoloEngine("n1")
    earlier = make_record("n0", boot=BOOT - 5, address=address_of("n77"))
    solo.hear("n1", make_claim("n0", DEAD, incarnation=BOOT + 2, record=earlier))
    assert (solo.engine.own.record.boot, solo.engine.own.incarnation) == (BOOT, BOOT + 3)


@pytest.mark.parametrize("state", [ALIVE, SUSPECT])
def test_another_process_under_our_name_is_shown_and_not_fought_over(state: MemberState) -> None:
    solo = SoloEngine("n1")
    elsewhere = Address("10.8.8.8", 7)
    claim = make_claim(
        "n0", state, incarnation=BOOT + 9, record=make_record("n0", boot=BOOT + 9, address=elsewhere)
    )
    solo.hear("n1", claim, claim)
    assert solo.events == [NameConflicted("n0", elsewhere, BOOT + 9)]
    assert [(one.address, one.boot) for one in solo.engine.conflicts] == [(elsewhere, BOOT + 9)]
    assert solo.engine.own.incarnation == BOOT
    # Once it is dead or gone, the name is ours.
    solo.hear("n1", replace(claim, state=LEFT))
    assert solo.engine.own.incarnation == BOOT + 10
    assert solo.engine.own.record.boot == BOOT + 10


def test_two_processes_under_one_name_both_come_to_know_of_it() -> None:
    older, newer = (
        SoloEngine("n1"),
        SoloEngine("n1", record=make_record("n0", boot=BOOT + 9, address=ELSEWHERE)),
    )
    newer.hear("n1", make_claim("n0"))
    assert newer.engine.conflicts == ()  # as far as it knows, that was its own former life
    older.hear("n1", make_claim("n0", incarnation=BOOT + 9, record=newer.engine.own.record))
    (told,) = [one for one in older.datagrams if one.target == "n0"]
    assert told.to == ELSEWHERE
    newer.engine.receive_datagram(told.data, address_of("n0"), "n0", newer.now)
    newer.drain()
    assert newer.events == [NameConflicted("n0", address_of("n0"), BOOT)]


def conflicting(number: int, state: MemberState = ALIVE, *, boot: int = BOOT + 9) -> Claim:
    record = replace(make_record("n0", boot=boot), addresses=(Address(f"10.9.0.{number}", 29501),))
    return make_claim("n0", state, incarnation=boot, record=record)


def test_a_conflict_that_was_mended_is_forgotten() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", conflicting(1), conflicting(2))
    assert len(solo.engine.conflicts) == 2
    for _ in range(3):
        solo.run_until(solo.now + CONFLICT_AGE / 2)
        solo.hear("n1", conflicting(1))
    assert [one.address.host for one in solo.engine.conflicts] == ["10.9.0.1"]

    solo.run_until(solo.now + CONFLICT_AGE)
    assert list(solo.engine.conflicts) == []


def test_a_conflict_ends_when_the_other_one_leaves() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", conflicting(1))
    solo.hear("n1", conflicting(1, LEFT))
    assert solo.engine.conflicts == ()


def test_a_conflicting_process_that_restarts_is_one_and_told_once() -> None:
    solo = SoloEngine("n1")
    for boot in range(BOOT + 9, BOOT + 49):
        solo.hear("n1", conflicting(1, boot=boot))
    assert [(one.address.host, one.boot) for one in solo.engine.conflicts] == [("10.9.0.1", BOOT + 48)]
    assert solo.events == [NameConflicted("n0", Address("10.9.0.1", 29501), BOOT + 9)]


def test_conflicts_are_bounded() -> None:
    solo = SoloEngine("n1")
    for number in range(1, 41):
        solo.hear("n1", conflicting(number))
    assert len(solo.engine.conflicts) == 16


def test_a_tombstone_ages_across_members_and_is_told_for_twelve_hours() -> None:
    solo = SoloEngine("n1")
    solo.push_pull("n1", [make_claim("x", DEAD, age=11 * HOUR)])
    assert solo.table_told()["x"].age == pytest.approx(11 * HOUR, abs=5)
    solo.run_until(solo.now + 1.01 * HOUR)
    assert "x" not in solo.table_told()
    assert solo.state_of("x") is DEAD
    solo.run_until(solo.now + 12.1 * HOUR)
    assert solo.state_of("x") is None


def test_an_old_tombstone_of_somebody_unknown_is_not_taken_in() -> None:
    solo = SoloEngine("n1")
    solo.push_pull("n1", [make_claim("x", DEAD, age=12 * HOUR)])
    assert solo.state_of("x") is None


def test_in_a_full_table_the_oldest_ex_member_makes_room_and_the_living_do_not() -> None:
    solo = SoloEngine("n1", config=SwimConfig(max_members=4))
    solo.push_pull("n1", [make_claim("x", DEAD, age=50.0), make_claim("y", LEFT, age=90.0)])
    solo.hear("n1", make_claim("z"))
    assert [solo.state_of(name) for name in "xyz"] == [DEAD, None, ALIVE]
    solo.hear("n1", make_claim("v"), make_claim("w"))
    assert [solo.state_of(name) for name in "xyzvw"] == [None, None, ALIVE, ALIVE, None]
    assert solo.engine.counters.members_refused == 1


def test_a_claim_too_long_for_a_datagram_goes_by_push_pull() -> None:
    solo = SoloEngine("n1", config=SwimConfig(max_datagram_bytes=256))
    long = "n" * 250
    solo.push_pull("n1", [make_claim(long)])
    assert solo.engine.queue_length == 0
    assert long in solo.table_told()
    solo.start()
    solo.hear(long, Ping(1, BOOT))
    solo.run_until(solo.now + 20.0)
    assert max(len(datagram.data) for datagram in solo.datagrams) <= 256


def test_a_changed_record_is_told_at_a_higher_incarnation_and_keeps_the_boot() -> None:
    solo = SoloEngine("n1")
    solo.engine.change_record(make_record("n0", boot=5, zone="z"), solo.now)
    solo.run_until(solo.now + 1.0)
    assert make_claim("n0", incarnation=BOOT + 1, record=make_record("n0", zone="z")) in [
        sent.message for sent in solo.sent
    ]
    with pytest.raises(ValueError, match="keeps its name"):
        solo.engine.change_record(make_record("n5"), solo.now)


def test_the_tombstone_of_a_later_life_has_an_age_of_its_own() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("x", DEAD, incarnation=5))
    solo.now += 23 * HOUR
    solo.hear(
        "n1", make_claim("x", DEAD, incarnation=900, age=60.0)
    )  # it came back and died, unseen from here

    assert state_age(solo, "x") == pytest.approx(60.0)
    assert "x" in solo.table_told()

    solo.run_until(solo.now + 2 * HOUR)
    solo.hear("n1", make_claim("x", incarnation=800))
    assert solo.state_of("x") is DEAD, "no zombie of the life in between"


def test_a_member_that_restarted_has_been_alive_since_then() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("x", incarnation=5, record=make_record("x", boot=5)))
    solo.now += HOUR
    solo.hear("n1", make_claim("x", incarnation=6, record=make_record("x", boot=5)))
    assert state_age(solo, "x") == HOUR
    solo.hear("n1", make_claim("x", incarnation=900, record=make_record("x", boot=900)))
    assert state_age(solo, "x") == 0.0


def state_age(solo: SoloEngine, name: str) -> float:
    detail = solo.engine.detail(name, solo.now)
    assert detail is not None
    return detail.state_age


def test_a_node_that_gets_another_family_reaches_the_others_by_it() -> None:
    solo = SoloEngine("n1")
    six = Address("fd00::9", 29501)
    solo.hear("n1", make_claim("x", record=replace(make_record("x"), addresses=(six, address_of("x")))))
    assert address_in_use(solo, "x") == address_of("x")

    solo.engine.change_record(replace(make_record("n0"), addresses=(Address("fd00::1", 29501),)), solo.now)

    assert address_in_use(solo, "x") == six


def address_in_use(solo: SoloEngine, name: str) -> Address:
    detail = solo.engine.detail(name, solo.now)
    assert detail is not None
    return detail.address


def test_ten_thousand_names_that_come_and_go_leave_bounded_tables() -> None:
    # memberlist#253: members that had left were never forgotten, until nobody could join.
    solo = SoloEngine("n1", config=SwimConfig(max_members=256))
    for number in range(10_000):
        name = f"x{number}"
        solo.hear("n1", make_claim(name), make_claim(name, (DEAD, LEFT)[number % 2]))
        assert len(solo.engine.members()) <= 256
        assert solo.engine.queue_length <= 256
    assert solo.engine.n == 2
    assert len(solo.engine.push_pull_hashes(solo.now)) < 1024


def test_a_day_after_the_last_of_many_left_nobody_is_remembered() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", *(make_claim(f"x{number}", LEFT) for number in range(100)))
    solo.run_dry()
    solo.now += 25 * HOUR
    solo.engine.handle_timer(solo.now)
    solo.drain()
    assert {member.name for member in solo.engine.members()} <= {"n0", "n1"}
