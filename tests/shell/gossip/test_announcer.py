from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from spegel_gossip.gossip.announcer import GATHER_TIME, MAX_SINGLE, Announcer
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import (
    BootRaised,
    ClockDiffers,
    MemberDied,
    MemberJoined,
    MembershipEvent,
    NameConflicted,
    UdpBlocked,
)
from spegel_gossip.swim.member import Member, MemberRecord, MemberState

ADDRESS = Address("10.0.0.1", 29501)


def member(name: str) -> Member:
    return Member(MemberRecord(name, 1, (ADDRESS,)), MemberState.ALIVE, 1)


async def test_a_few_changes_get_a_line_each(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    announcer = Announcer()
    nursery.start_soon(announcer.run)

    with capture_logs() as lines:
        for name in "abc":
            announcer.tell(MemberJoined(member(name)))
        announcer.tell(MemberDied(member("d")))
        await trio.sleep(2 * GATHER_TIME)

    assert [line["name"] for line in lines] == ["a", "b", "c", "d"]


async def test_a_storm_is_one_line_with_a_count(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    announcer = Announcer()
    nursery.start_soon(announcer.run)

    with capture_logs() as lines:
        for number in range(500):
            announcer.tell(MemberDied(member(f"n{number}")))
        for number in range(MAX_SINGLE):
            announcer.tell(MemberJoined(member(f"m{number}")))
        await trio.sleep(2 * GATHER_TIME)

    [storm] = [line for line in lines if "count" in line]
    assert storm["count"] == 500
    assert len(lines) == 1 + MAX_SINGLE


@pytest.mark.parametrize(
    "event",
    [NameConflicted("a", ADDRESS, 2), UdpBlocked(member("a")), BootRaised(9)],
    ids=range(3),
)
def test_what_an_operator_must_act_on_is_a_warning_at_once(event: MembershipEvent) -> None:
    with capture_logs() as lines:
        Announcer().tell(event)

    assert [line["log_level"] for line in lines] == ["warning"]


async def test_clocks_that_are_off_are_a_warning_once_a_minute_however_many(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    # A node whose own clock is off finds another one to be with every ping.
    announcer = Announcer()
    nursery.start_soon(announcer.run)

    with capture_logs() as lines:
        for number in range(20):
            announcer.tell(ClockDiffers(member(f"n{number}"), 172_800.4))
            await trio.sleep(2 * GATHER_TIME)
        announcer.tell(ClockDiffers(member("back"), 0.2))
        await trio.sleep(30.0)

    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert (lines[0]["name"], lines[0]["ahead_s"]) == ("n0", 172_800)
    assert lines[1]["count"] == 19
