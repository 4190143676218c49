from pathlib import Path

import pytest
import trio

from spegel_gossip.demo.errors import ClaimError, DemoError
from spegel_gossip.demo.lines import Lines
from spegel_gossip.demo.picture import Picture, Step, StepState
from spegel_gossip.demo.teller import Teller

LOGS = Path("/logs")


async def fail_with(error: Exception) -> None:
    raise error


class Stage:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.picture = Picture(steps=[Step("first"), Step("second")])
        self.teller = Teller(self.picture, Lines(self.picture, self.lines.append), LOGS)


async def test_a_step_is_announced_its_claims_told_and_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()

    async with stage.teller.step(0, 10):
        await trio.sleep(2)
        stage.teller.claim("two and two", expected=4, seen=2 + 2)

    assert stage.lines == ["   0.0  1/2 first", "   2.0      ok: two and two", "   2.0      done in 2.0 s"]
    assert stage.picture.steps[0].state is StepState.HELD
    assert stage.picture.steps[0].claims == ["two and two"]


async def test_a_claim_that_does_not_hold_says_what_was_expected_what_was_seen_and_where_the_logs_are() -> (
    None
):
    stage = Stage()

    with pytest.raises(ClaimError) as caught:
        async with stage.teller.step(1, 10):
            stage.teller.claim("bytes of the registry", expected=0, seen=17)

    failure = caught.value
    assert (failure.step, failure.expected, failure.seen, failure.logs) == (
        "second",
        "bytes of the registry: 0",
        "17",
        LOGS,
    )
    assert stage.picture.steps[1].state is StepState.FAILED
    assert stage.picture.steps[1].claims == []


async def test_a_step_that_takes_too_long_is_a_claim_that_did_not_hold(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()

    with pytest.raises(ClaimError, match="an end within 10 s"):
        async with stage.teller.step(0, 10):
            await trio.sleep_forever()

    assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_what_takes_a_while_is_waited_for_and_its_time_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    seen = iter([1, 2, 3])

    async def look() -> object:
        return next(seen)

    async with stage.teller.step(0, 10):
        await stage.teller.claim_soon(lambda s: f"three after {s:.1f} s", look, expected=3, within=1)

    assert stage.picture.steps[0].claims == ["three after 0.2 s"]


@pytest.mark.parametrize("stalls", [False, True])
async def test_what_does_not_become_so_in_time_is_told_as_it_was_last_seen(
    autojump_clock: trio.testing.MockClock, stalls: bool
) -> None:
    stage = Stage()
    looks = 0

    async def look() -> object:
        nonlocal looks
        looks += 1
        if stalls and looks > 1:
            await trio.sleep_forever()
        return "this"

    with pytest.raises(ClaimError, match="expected so: that; seen: this, after 3 s"):
        async with stage.teller.step(0, 10):
            await stage.teller.claim_soon(lambda _: "so", look, expected="that", within=3)

    assert trio.current_time() == pytest.approx(3, abs=0.2)


async def test_another_failure_of_the_demo_is_told_with_its_step() -> None:
    stage = Stage()

    with pytest.raises(ClaimError, match="first: expected no failure; seen: no such image"):
        async with stage.teller.step(0, 10):
            raise DemoError("no such image")


async def test_so_is_one_of_several_at_the_same_time() -> None:
    stage = Stage()

    async def pull_twice() -> None:
        async with stage.teller.step(0, 10), trio.open_nursery() as nursery:
            nursery.start_soon(fail_with, DemoError("no such node"))
            nursery.start_soon(fail_with, DemoError("no such image"))

    with pytest.raises(ClaimError, match="seen: no such") as caught:
        await pull_twice()

    assert caught.value.logs == LOGS


async def test_a_bug_stays_a_bug() -> None:
    stage = Stage()

    async def pull() -> None:
        async with stage.teller.step(0, 10), trio.open_nursery() as nursery:
            nursery.start_soon(fail_with, KeyError("a bug"))

    with pytest.raises(BaseExceptionGroup):
        await pull()
