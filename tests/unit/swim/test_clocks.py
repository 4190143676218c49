import pytest

from spegel_gossip.swim.events import ClockDiffers
from spegel_gossip.swim.messages import Ack, Ping
from spegel_gossip.testing.solo_engine import SoloEngine
from spegel_gossip.testing.swim_values import BOOT

OTHERS = ("n1", "n2", "n3", "n4", "n5")
UNIX_NOW = 1_800_000_000.0
DAY = 86_400.0


def started(*others: str) -> SoloEngine:
    solo = SoloEngine(*(others or OTHERS))
    solo.start()
    return solo


def ahead(solo: SoloEngine) -> float | None:
    detail = solo.engine.detail("n1", solo.now)
    assert detail is not None
    return detail.clock_offset


def test_a_clock_that_is_off_is_learned_from_an_ack_and_told_when_it_moves() -> None:
    solo = started("n1")
    solo.engine.set_clock(UNIX_NOW, solo.now)
    began_at = solo.now
    for offset in (0.5, 2 * DAY, 2 * DAY + 1.0, -2 * DAY, 0.0):
        _, ping = solo.run_until_sent(Ping)
        solo.run_until(solo.now + 0.1)
        # The ack is 0.1 s under way in all, so its sender looked 0.05 s before now.
        looked_at = UNIX_NOW + (solo.now - 0.05 - began_at)
        solo.hear("n1", Ack(ping.seq, BOOT, time_ms=round(1000 * (looked_at + offset))))
        assert ahead(solo) == pytest.approx(offset, abs=0.01)
    told = [event for event in solo.events if isinstance(event, ClockDiffers)]
    assert [event.seconds for event in told] == pytest.approx([2 * DAY, -2 * DAY, 0.0], abs=0.01)
    assert {event.member.name for event in told} == {"n1"}


def test_our_own_clock_may_be_set_between_two_acks() -> None:
    solo = started("n1")
    for unix_now in (UNIX_NOW, UNIX_NOW - DAY):
        _, ping = solo.run_until_sent(Ping)
        solo.engine.set_clock(unix_now, solo.now)
        solo.hear("n1", Ack(ping.seq, BOOT, time_ms=round(1000 * UNIX_NOW)))
    assert ahead(solo) == pytest.approx(DAY, abs=0.01)


def test_acks_say_the_time_once_it_is_known() -> None:
    solo = SoloEngine("n1")
    solo.hear("n1", Ping(1, BOOT))
    solo.engine.set_clock(UNIX_NOW, solo.now)
    solo.hear("n1", Ping(2, BOOT))
    assert solo.messages_to("n1", Ack) == [Ack(1, BOOT), Ack(2, BOOT, b"", 1_800_000_000_000)]


def test_whoever_says_no_time_or_answers_through_a_relay_teaches_none() -> None:
    solo = started()
    solo.engine.set_clock(UNIX_NOW, solo.now)
    sent, ping = solo.run_until_sent(Ping)
    relay = next(name for name in OTHERS if name != sent.target)
    solo.hear(relay, Ack(ping.seq, BOOT, time_ms=1))
    sent, ping = solo.run_until_sent(Ping)
    solo.hear(sent.target, Ack(ping.seq, BOOT))
    assert [detail.clock_offset for detail in solo.engine.details(solo.now)] == [None] * 6
    assert solo.events == []
