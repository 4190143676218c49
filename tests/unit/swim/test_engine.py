import pytest

from spegel_gossip.errors import ConfigError, DecodeError
from spegel_gossip.swim import codec
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import Ack, Ping
from spegel_gossip.testing.solo_engine import SoloEngine
from spegel_gossip.testing.swim_values import BOOT, address_of, make_claim

OTHERS = ("n1", "n2", "n3")
HOUR = 3600.0


def test_alone_it_says_nothing() -> None:
    solo = SoloEngine()
    solo.start()
    solo.run_until(HOUR)
    assert (solo.sent, solo.streams, solo.events) == ([], [], [])
    assert (solo.engine.n, solo.engine.has_company) == (1, False)
    assert [member.name for member in solo.engine.members()] == ["n0"]


def test_who_leaves_tells_all_and_then_is_done() -> None:
    solo = SoloEngine(*OTHERS)
    solo.start()
    solo.engine.leave(solo.now)
    solo.engine.leave(solo.now)
    done_after = 0.0
    while not solo.engine.has_left:
        done_after += 0.1
        solo.run_until(solo.now + 0.1)
    assert 0.0 < done_after < 1.0
    goodbye = make_claim("n0", MemberState.LEFT)
    assert {sent.target for sent in solo.sent if sent.message == goodbye} == set(OTHERS)


def test_alone_there_is_nobody_to_tell_of_a_leave() -> None:
    solo = SoloEngine()
    solo.engine.leave(solo.now)
    assert solo.engine.has_left


def test_who_left_probes_and_joins_no_more_but_still_answers_and_says_that_it_left() -> None:
    solo = SoloEngine(*OTHERS)
    solo.start()
    solo.engine.leave(solo.now)
    solo.forget()
    solo.engine.join([address_of("n9")], solo.now)
    solo.run_until(solo.now + 100.0)
    assert (solo.sent, solo.streams) == ([], [])
    solo.hear("n1", Ping(8, BOOT))
    goodbye = make_claim("n0", MemberState.LEFT, age=100.0)
    assert [sent.message for sent in solo.sent] == [Ack(8, BOOT), goodbye]


def test_who_leaves_does_not_refute_its_leave() -> None:
    solo = SoloEngine(*OTHERS)
    solo.engine.leave(solo.now)
    solo.hear("n1", make_claim("n0", MemberState.DEAD), make_claim("n0", MemberState.SUSPECT))
    assert solo.engine.own.state is MemberState.LEFT
    solo.hear("n1", make_claim("n0", MemberState.SUSPECT, incarnation=BOOT + 1))
    assert (solo.engine.own.state, solo.engine.own.incarnation) == (MemberState.LEFT, BOOT + 2)


def test_one_of_the_dead_is_pinged_every_half_minute_and_told_so() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("n7", MemberState.DEAD), make_claim("n8", MemberState.LEFT))
    solo.forget()
    solo.start()
    for _ in range(300):
        solo.run_until(solo.now + 1.0)
        pings = solo.messages_to("n1", Ping)
        if pings:
            solo.hear("n1", Ack(pings[-1].seq, BOOT))
    to_dead = [sent for sent in solo.sent if sent.target == "n7"]
    assert 9 <= len([sent for sent in to_dead if isinstance(sent.message, Ping)]) <= 11
    assert [sent.message.state for sent in to_dead if isinstance(sent.message, Claim)] == (
        [MemberState.DEAD] * (len(to_dead) // 2)
    )
    assert [sent for sent in solo.sent if sent.target == "n8"] == []


def test_of_many_dead_the_recent_and_the_rest_come_in_turn() -> None:
    solo = SoloEngine()
    dead = [f"n{number}" for number in range(1, 41)]
    solo.push_pull("n99", [make_claim(name, MemberState.DEAD, age=10.0 * at) for at, name in enumerate(dead)])
    solo.start()
    solo.run_until(solo.now + 60 * 30.0)
    targets = [sent.target for sent in solo.sent if isinstance(sent.message, Ping)]
    assert set(targets[0::2]) <= set(dead[:16])
    # 24 of them are not recent: round robin visits each once in 24 turns.
    assert set(targets[1::2][:24]) == set(dead[16:])


def test_an_ex_member_that_refutes_is_back() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", make_claim("n7", MemberState.DEAD))
    solo.hear("n7", make_claim("n7", incarnation=BOOT + 1))
    assert solo.state_of("n7") is MemberState.ALIVE


def test_what_stands_before_the_fault_of_a_datagram_is_taken_in() -> None:
    solo = SoloEngine("n1")
    data = codec.encode(make_claim("n7")) + b"\xc1"
    with pytest.raises(DecodeError):
        solo.engine.receive_datagram(data, address_of("n1"), "n1", solo.now)
    assert solo.state_of("n7") is MemberState.ALIVE
    assert solo.engine.counters.datagrams_malformed == 1


def test_a_record_that_others_would_refuse_is_refused_here() -> None:
    for record in (MemberRecord("n0", BOOT, ()), MemberRecord("", BOOT, (address_of("n0"),))):
        with pytest.raises(ConfigError):
            SoloEngine(record=record)


@pytest.mark.parametrize(
    "wrong",
    [
        {"probe_interval": 0.0}, {"probe_timeout": 1.0}, {"gossip_fanout": 0}, {"suspicion_beta": 0.5},
        {"max_datagram_bytes": 100}, {"tombstone_drop_age": 1.0}, {"max_local_health": 0},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused_by_its_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SwimConfig(**wrong)  # type: ignore[arg-type]  # one dict for fields of several types


def test_looking_shows_what_is_held() -> None:
    solo = SoloEngine(*OTHERS)
    solo.hear("n1", make_claim("n2", MemberState.SUSPECT, accuser="n1"))
    solo.run_until(solo.now + 1.0)
    detail = solo.engine.detail("n2", solo.now)
    assert detail is not None
    assert detail.state_age == pytest.approx(1.0)
    assert detail.accusers == ("n1",)
    assert detail.round_trip_time is None
    assert detail.suspicion_left == pytest.approx(3.0)
    assert solo.engine.detail("stranger", solo.now) is None
    assert solo.engine.get("stranger") is None
    assert len(solo.engine.details(solo.now)) == 4


def test_the_time_in_our_own_state_counts_from_the_start() -> None:
    solo = SoloEngine()
    solo.now = 1000.0
    solo.start()
    detail = solo.engine.detail("n0", 1002.5)
    assert detail is not None
    assert detail.state_age == 2.5
