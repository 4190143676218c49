from itertools import pairwise

import pytest

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.events import MemberRefuted, MemberSuspected, NoteReceived, UdpBlocked
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import Ack, Nack, Ping, PingReq
from spegel_gossip.swim.outbox import TcpPing
from spegel_gossip.testing.solo_engine import SoloEngine
from spegel_gossip.testing.swim_values import BOOT, address_of, make_claim, make_record

OTHERS = ("n1", "n2", "n3", "n4", "n5")


def started(*others: str, config: SwimConfig | None = None) -> SoloEngine:
    solo = SoloEngine(*(others or OTHERS), config=config)
    solo.start()
    return solo


def test_an_acked_ping_keeps_a_member_alive_and_measures_the_round_trip() -> None:
    solo = started("n1")
    _, ping = solo.run_until_sent(Ping)
    solo.run_until(solo.now + 0.02)
    solo.hear("n1", Ack(ping.seq, BOOT))
    solo.run_until(solo.now + 0.97)
    detail = solo.engine.detail("n1", solo.now)
    assert detail is not None
    assert detail.round_trip_time == pytest.approx(0.02)
    assert detail.last_ack_age == pytest.approx(0.97)
    assert (solo.events, solo.messages_to("n1", PingReq)) == ([], [])


def test_every_probe_interval_one_member_is_pinged_in_turn() -> None:
    solo = started()
    targets = []
    for _ in range(10):
        sent, ping = solo.run_until_sent(Ping)
        targets.append(sent.target)
        solo.hear(sent.target, Ack(ping.seq, BOOT))
    assert sorted(targets[:5]) == sorted(targets[5:]) == sorted(OTHERS)
    pinged_at = [sent.at for sent in solo.sent if isinstance(sent.message, Ping)]
    gaps = [later - earlier for earlier, later in pairwise(pinged_at)]
    assert gaps == pytest.approx([1.0] * 9)


def test_without_an_ack_others_are_asked_and_tcp_is_tried() -> None:
    solo = started()
    probe, ping = solo.run_until_sent(Ping)
    asked, request = solo.run_until_sent(PingReq)
    assert asked.at - probe.at == pytest.approx(0.5)
    requests = [sent for sent in solo.sent if isinstance(sent.message, PingReq)]
    assert len({sent.target for sent in requests}) == 3
    assert probe.target not in {sent.target for sent in requests}
    assert request == PingReq(ping.seq, probe.target, (address_of(probe.target),))
    assert solo.streams == [TcpPing(probe.target, (address_of(probe.target),), ping.seq)]


def test_the_verdict_falls_at_the_end_of_the_round() -> None:
    solo = started()
    probe, _ = solo.run_until_sent(Ping)
    solo.run_until(probe.at + 0.99)
    assert solo.events == []
    solo.run_until(probe.at + 1.01)
    member = solo.engine.get(probe.target)
    assert member is not None
    assert solo.events == [MemberSuspected(member, "n0")]


@pytest.mark.parametrize("held", [0.3, 0.6, 0.99])
def test_a_member_that_was_held_up_asks_others_before_it_suspects(held: float) -> None:
    solo = started()
    probe, ping = solo.run_until_sent(Ping)
    solo.run_until(probe.at + 0.45)
    solo.now += held

    solo.engine.handle_timer(solo.now)
    solo.drain()

    requests = [sent for sent in solo.sent if isinstance(sent.message, PingReq)]
    assert [sent.at for sent in requests] == [solo.now] * 3
    assert solo.streams == [TcpPing(probe.target, (address_of(probe.target),), ping.seq)]
    # The ack was in the socket all the time.
    solo.hear(probe.target, Ack(ping.seq, BOOT))
    solo.run_until(solo.now + 0.51)
    assert solo.events == []
    assert solo.engine.counters.probes_failed == 0


def test_those_who_are_asked_late_have_the_same_time_to_answer() -> None:
    solo = started()
    probe, _ = solo.run_until_sent(Ping)
    solo.now = probe.at + 1.2
    solo.engine.handle_timer(solo.now)
    solo.drain()
    asked_at = solo.now
    solo.run_until(asked_at + 0.49)
    assert solo.events == []
    solo.run_until(asked_at + 0.51)
    assert [type(event) for event in solo.events] == [MemberSuspected]


def test_a_relayed_ack_counts_until_the_verdict() -> None:
    solo = started()
    probe, ping = solo.run_until_sent(Ping)
    asked, _ = solo.run_until_sent(PingReq)
    solo.run_until(probe.at + 0.95)
    solo.hear(asked.target, Nack(ping.seq), Ack(ping.seq, BOOT))
    solo.run_until(probe.at + 1.01)
    assert solo.events == []
    assert solo.state_of(probe.target) is MemberState.ALIVE


def test_an_answer_over_tcp_counts() -> None:
    solo = started()
    probe, _ = solo.run_until_sent(Ping)
    solo.run_until_sent(PingReq)
    (stream,) = solo.streams
    assert isinstance(stream, TcpPing)
    solo.engine.tcp_ping_answered(stream, solo.now)
    solo.run_until(probe.at + 1.01)
    assert solo.state_of(probe.target) is MemberState.ALIVE
    # One lost datagram does not mean that UDP is blocked.
    assert solo.events == []


def test_tcp_alone_three_times_in_a_row_means_that_udp_is_blocked() -> None:
    solo = started("n1")
    for _ in range(3):
        assert solo.events == []
        solo.streams.clear()
        solo.run_until_sent(Ping)
        solo.run_until(solo.now + 0.6)
        (stream,) = solo.streams
        assert isinstance(stream, TcpPing)
        solo.engine.tcp_ping_answered(stream, solo.now)
        solo.drain()
    assert [type(event) for event in solo.events] == [UdpBlocked]
    _, ping = solo.run_until_sent(Ping)
    solo.hear("n1", Ack(ping.seq, BOOT))
    detail = solo.engine.detail("n1", solo.now)
    assert detail is not None
    assert not detail.is_udp_blocked


# memberlist's TestMemberList_ProbeNode_Awareness_Degraded, _Improved and _MissedNack.
@pytest.mark.parametrize(("nacks", "score"), [(3, 0), (2, 1), (0, 3)])
def test_missing_nacks_tell_of_bad_local_health(nacks: int, score: int) -> None:
    solo = started()
    probe, ping = solo.run_until_sent(Ping)
    solo.run_until_sent(PingReq)
    relays = [sent.target for sent in solo.sent if isinstance(sent.message, PingReq)]
    for relay in relays[:nacks]:
        solo.hear(relay, Nack(ping.seq))
    solo.run_until(probe.at + 1.01)
    assert solo.engine.local_health == score


def test_who_can_ask_nobody_has_no_proof_of_its_health() -> None:
    solo = started("n1")
    probe, _ = solo.run_until_sent(Ping)
    solo.run_until(probe.at + 1.01)
    assert solo.engine.local_health == 1


def test_bad_local_health_stretches_the_round_but_not_the_wait_for_the_ack() -> None:
    solo = started()
    first, _ = solo.run_until_sent(Ping)
    second, ping = solo.run_until_sent(Ping)
    assert solo.engine.local_health == 3
    asked, _ = solo.run_until_sent(PingReq)
    assert asked.at - second.at == pytest.approx(0.5)
    solo.hear(second.target, Ack(ping.seq, BOOT))
    third, _ = solo.run_until_sent(Ping)
    assert second.at - first.at == pytest.approx(1.0)
    assert third.at - second.at == pytest.approx(4.0)
    assert solo.engine.local_health == 2


def test_a_relay_pings_and_passes_the_ack_on_under_the_askers_number() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", PingReq(77, "n2", (Address("10.9.9.9", 1),)))
    (ping,) = solo.messages_to("n2", Ping)
    # It knows better than the asker where n2 is.
    assert solo.sent[-1].to == address_of("n2")
    solo.hear("n2", Ack(ping.seq, BOOT))
    assert [ack.seq for ack in solo.messages_to("n1", Ack)] == [77]
    solo.run_until(solo.now + 10.0)
    assert solo.messages_to("n1", Nack) == []


def test_a_relay_says_at_80_percent_of_the_timeout_that_it_has_no_ack_and_passes_a_later_one() -> None:
    solo = SoloEngine(*OTHERS)
    asked_at = solo.now
    solo.hear("n1", PingReq(77, "n2", (address_of("n2"),)))
    nack, _ = solo.run_until_sent(Nack)
    assert nack.at - asked_at == pytest.approx(0.4)
    (ping,) = solo.messages_to("n2", Ping)
    solo.hear("n2", Ack(ping.seq, BOOT))
    assert [ack.seq for ack in solo.messages_to("n1", Ack)] == [77]


def test_a_relay_pings_one_that_it_does_not_know_where_the_asker_says() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", PingReq(1, "n9", (Address("10.9.9.9", 1),)))
    assert [(sent.target, sent.to) for sent in solo.sent] == [("n9", Address("10.9.9.9", 1))]


def test_a_relay_that_is_itself_the_target_answers() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", PingReq(5, "n0", (address_of("n0"),)))
    assert solo.messages_to("n1", Ack) == [Ack(5, BOOT)]


def test_relays_under_way_are_bounded() -> None:
    solo = SoloEngine(*OTHERS, config=SwimConfig(max_relays=2))
    for seq in range(5):
        solo.hear("n1", PingReq(seq, "n2", (address_of("n2"),)))
    assert len(solo.messages_to("n2", Ping)) == 2
    assert solo.engine.counters.relays_refused == 3
    solo.run_until(solo.now + 60.0)
    solo.hear("n1", PingReq(9, "n2", (address_of("n2"),)))
    assert len(solo.messages_to("n2", Ping)) == 3


def test_whatever_goes_to_a_suspect_tells_it_so_before_any_other_news() -> None:
    solo = SoloEngine(*OTHERS)
    suspect = make_claim("n1", MemberState.SUSPECT, accuser="n7")
    solo.hear("n7", suspect)
    solo.run_dry()
    solo.hear("n8", make_claim("n20"), make_claim("n21"))
    solo.sent.clear()
    solo.hear("n1", Ping(1, BOOT))
    ack, first, *_ = solo.sent
    assert ack.message == Ack(1, BOOT)
    assert first.message == suspect


def test_without_the_buddy_system_the_order_is_the_ordinary_one() -> None:
    solo = SoloEngine(*OTHERS, config=SwimConfig(has_buddy_system=False))
    solo.hear("n7", make_claim("n1", MemberState.SUSPECT, accuser="n7"))
    solo.run_dry()
    solo.sent.clear()
    solo.hear("n1", Ping(1, BOOT))
    assert [sent.message for sent in solo.sent] == [Ack(1, BOOT)]


def test_an_ack_brings_the_refutation_of_what_its_ping_accused_us_of() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", Ping(3, BOOT), make_claim("n0", MemberState.SUSPECT, accuser="n1"))
    ack, refutation = (sent.message for sent in solo.sent if sent.target == "n1")
    assert ack == Ack(3, BOOT + 1)
    assert refutation == make_claim("n0", incarnation=BOOT + 1)
    assert solo.engine.local_health == 1


def test_a_suspect_that_refutes_is_alive_again() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n2", make_claim("n1", MemberState.SUSPECT, accuser="n2"))
    solo.hear("n1", make_claim("n1", incarnation=BOOT + 1))
    solo.run_until(solo.now + 60.0)
    assert [type(event) for event in solo.events] == [MemberSuspected, MemberRefuted]
    assert solo.state_of("n1") is MemberState.ALIVE


def test_notes_ride_on_pings_and_acks_to_their_member() -> None:
    solo = started("n1")
    solo.engine.set_note("n1", b"for n1")
    _, ping = solo.run_until_sent(Ping)
    assert ping.note == b"for n1"
    solo.hear("n1", Ping(4, BOOT, b"from n1"), Ack(ping.seq, BOOT, b"more"))
    assert solo.messages_to("n1", Ack)[0].note == b"for n1"
    assert solo.events == [NoteReceived("n1", b"from n1"), NoteReceived("n1", b"more")]


def test_a_note_for_nobody_is_dropped_and_a_long_one_is_a_misuse() -> None:
    solo = SoloEngine("n1")
    solo.engine.set_note("stranger", b"x")
    with pytest.raises(ValueError, match="24 bytes"):
        solo.engine.set_note("n1", bytes(25))


def test_a_member_is_sent_to_where_it_speaks_from_if_that_is_its_own() -> None:
    record = MemberRecord("n1", BOOT, (Address("10.0.0.1", 5), Address("10.0.0.2", 5)))
    solo = SoloEngine()
    solo.push_pull("n1", [make_claim("n1", record=record)])
    assert solo.engine.details(0.0)[1].address == Address("10.0.0.1", 5)
    solo.hear("n1", Nack(1), address=Address("10.0.0.2", 5))
    assert solo.engine.details(0.0)[1].address == Address("10.0.0.2", 5)
    solo.hear("n1", Nack(1), address=Address("10.6.6.6", 5))
    assert solo.engine.details(0.0)[1].address == Address("10.0.0.2", 5)


def test_of_two_families_ours_is_used_and_after_two_silences_the_other() -> None:
    record = MemberRecord("n1", BOOT, (Address("fd00::1", 5), Address("10.0.0.1", 5)))
    solo = SoloEngine()
    solo.push_pull("n1", [make_claim("n1", record=record)])
    solo.start()
    first, _ = solo.run_until_sent(Ping)
    second, _ = solo.run_until_sent(Ping)
    third, _ = solo.run_until_sent(Ping)
    assert [first.to.host, second.to.host, third.to.host] == ["10.0.0.1", "10.0.0.1", "fd00::1"]


def test_a_member_that_was_not_run_for_long_blames_nobody_for_its_silence() -> None:
    solo = started()
    solo.hear("n2", make_claim("n1", MemberState.SUSPECT, accuser="n2"))
    probe, _ = solo.run_until_sent(Ping)
    solo.events.clear()
    solo.now += 3600.0
    solo.engine.handle_timer(solo.now)
    solo.drain()
    assert solo.events == []
    assert solo.state_of(probe.target) in {MemberState.ALIVE, MemberState.SUSPECT}
    assert solo.state_of("n1") is MemberState.SUSPECT
    assert (solo.engine.counters.late_wakes, solo.engine.local_health) == (1, 1)


def test_the_first_gossip_goes_to_members_and_never_about_themselves_to_ourselves() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n6"))
    solo.run_until(solo.now + 5.0)
    told = [sent for sent in solo.sent if isinstance(sent.message, Claim)]
    assert told
    assert {sent.target for sent in told} <= {*OTHERS, "n6"}
    # 4 * ceil(log10(7 + 1)) transmits, and then silence.
    assert len([sent for sent in told if sent.message == make_claim("n6")]) == 4


def test_three_members_get_each_gossip_round() -> None:
    solo = SoloEngine(*OTHERS)
    heard_at = solo.now
    solo.hear("n1", make_claim("n6"))
    solo.run_until(heard_at + 0.21)
    assert len({sent.target for sent in solo.sent}) == 3
    assert [sent.at - heard_at for sent in solo.sent] == pytest.approx([0.2] * 3)


def test_who_died_just_now_gets_gossip_for_half_a_minute_so_that_it_can_refute() -> None:
    def targets_of_gossip(after: float) -> set[str]:
        solo = SoloEngine("n1", "n2")
        solo.hear("n1", make_claim("n2", MemberState.DEAD))
        solo.run_until(solo.now + after)
        solo.sent.clear()
        for number in range(20, 30):
            solo.hear("n1", make_claim(f"n{number}", MemberState.LEFT))
            solo.run_dry()
        return {sent.target for sent in solo.sent}

    assert targets_of_gossip(3.0) == {"n1", "n2"}
    assert targets_of_gossip(31.0) == {"n1"}


def test_a_member_of_the_other_family_only_is_sent_to_there() -> None:
    there = Address("fd00::1", 5)
    solo = SoloEngine()
    solo.push_pull("n1", [make_claim("n1", record=MemberRecord("n1", BOOT, (there,)))])
    assert solo.engine.details(0.0)[1].address == there


def test_our_own_datagrams_are_not_heard() -> None:
    solo = SoloEngine("n1")
    solo.hear("n0", make_claim("n0", MemberState.DEAD, record=make_record("n0")))
    assert solo.sent == []
    assert solo.engine.own.incarnation == BOOT


def test_three_pings_in_one_datagram_are_three_acks() -> None:
    # memberlist's TestHandleCompoundPing.
    solo = SoloEngine("n1")
    solo.hear("n1", Ping(7, BOOT), Ping(8, BOOT), Ping(9, BOOT))
    assert [ack.seq for ack in solo.messages_to("n1", Ack)] == [7, 8, 9]


def test_an_ack_that_comes_after_the_verdict_or_twice_changes_nothing() -> None:
    # memberlist's handlers of acks: reaped on timeout, and good for one.
    solo = started("n1")
    _, late = solo.run_until_sent(Ping)
    _, ping = solo.run_until_sent(Ping)
    assert (solo.state_of("n1"), solo.engine.local_health) == (MemberState.SUSPECT, 1)
    solo.hear("n1", Ack(late.seq, BOOT))
    assert (solo.state_of("n1"), solo.engine.local_health) == (MemberState.SUSPECT, 1)
    solo.hear("n1", Ack(ping.seq, BOOT))
    solo.hear("n1", Ack(ping.seq, BOOT))
    assert solo.engine.local_health == 0
    # Only the member itself lifts a suspicion.
    assert solo.state_of("n1") is MemberState.SUSPECT


def test_probes_are_counted_by_outcome() -> None:
    solo = started()
    for outcome in ("direct", "relayed", "tcp", "failed"):
        solo.streams.clear()
        sent, ping = solo.run_until_sent(Ping)
        if outcome == "direct":
            solo.hear(sent.target, Ack(ping.seq, BOOT))
            continue
        asked, _ = solo.run_until_sent(PingReq)
        if outcome == "relayed":
            solo.hear(asked.target, Ack(ping.seq, BOOT))
        elif outcome == "tcp":
            (stream,) = solo.streams
            assert isinstance(stream, TcpPing)
            solo.engine.tcp_ping_answered(stream, solo.now)
    solo.run_until_sent(Ping)
    counters = solo.engine.counters
    outcomes = (
        counters.probes_acked,
        counters.probes_acked_by_relay,
        counters.probes_acked_by_tcp,
        counters.probes_failed,
    )
    assert outcomes == (1, 1, 1, 1)


SIX, OTHER_FOUR = Address("fd00::1", 29501), Address("10.9.0.1", 29501)


@pytest.mark.parametrize(
    ("others", "second"),
    [([SIX], address_of("x")), ([SIX, OTHER_FOUR], OTHER_FOUR)],
    ids=["no other of ours", "another of ours"],
)
def test_one_missed_ack_turns_to_no_family_that_this_node_lacks(
    others: list[Address], second: Address
) -> None:
    solo = SoloEngine()
    solo.start()
    record = MemberRecord("x", BOOT, (address_of("x"), *others))
    solo.hear("x", Claim(record, BOOT, MemberState.ALIVE))
    pinged = []
    for _ in range(2):
        sent, _ = solo.run_until_sent(Ping)
        pinged.append(sent.to)
        solo.run_until(solo.now + 0.6)
    assert pinged == [address_of("x"), second]


def test_a_relay_that_does_not_know_the_target_uses_a_family_that_it_has() -> None:
    solo = started()
    solo.hear("n1", PingReq(7, "stranger", (SIX, OTHER_FOUR)))
    assert [sent.to for sent in solo.sent if sent.target == "stranger"] == [OTHER_FOUR]
