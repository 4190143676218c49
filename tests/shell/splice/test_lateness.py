import trio
import trio.testing
from prometheus_client import REGISTRY

from shell.held_loop import hold_the_loop
from spegel_gossip.splice.lateness import IDLE_INTERVAL, SAMPLE_INTERVAL, run_lateness_probe

STOPPED = 0.06


def samples(suffix: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"spegel_gossip_loop_lateness_seconds_{suffix}", labels) or 0.0


async def test_a_loop_that_was_held_up_is_seen_to_be_late() -> None:
    late_before = samples("count") - samples("bucket", le="0.05")

    with trio.move_on_after(3 * SAMPLE_INTERVAL):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_lateness_probe)
            await trio.sleep(SAMPLE_INTERVAL / 2)
            # What the probe is there to find: somebody who keeps the loop to himself.
            hold_the_loop(SAMPLE_INTERVAL + STOPPED)
            await trio.sleep_forever()

    assert samples("count") - samples("bucket", le="0.05") >= late_before + 1


async def test_an_idle_loop_is_not_late(autojump_clock: trio.testing.MockClock) -> None:
    sum_before, count_before = samples("sum"), samples("count")

    with trio.move_on_after(8 * IDLE_INTERVAL):
        await run_lateness_probe()

    # Looked at ever more rarely: an idle node sleeps.
    assert 7 <= samples("count") - count_before <= 10
    assert samples("sum") - sum_before < 1e-9


async def test_a_late_loop_is_looked_at_closely_again(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_lateness_probe)
        await trio.sleep(8 * IDLE_INTERVAL)
        count_before = samples("count")
        autojump_clock.jump(2 * IDLE_INTERVAL)
        await trio.sleep(3.5 * SAMPLE_INTERVAL)
        nursery.cancel_scope.cancel()

    # The late look, one after an interval, and one after two.
    assert samples("count") - count_before == 3
