import trio
import trio.testing
from prometheus_client import REGISTRY

from shell.held_loop import hold_the_loop
from spegel_gossip.splice.lateness import IDLE_INTERVAL, SAMPLE_INTERVAL, run_lateness_probe

STOPPED = 0.06
LIMIT = 10.0


def samples(suffix: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"spegel_gossip_loop_lateness_seconds_{suffix}", labels) or 0.0


def late() -> float:
    """Return how many looks were late."""
    return samples("count") - samples("bucket", le="0.05")


async def test_a_loop_that_was_held_up_is_seen_to_be_late() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_lateness_probe)
        await trio.sleep(SAMPLE_INTERVAL / 2)
        late_before = late()
        # What the probe is there to find: somebody who keeps the loop to himself, past any look that is due.
        hold_the_loop(IDLE_INTERVAL + STOPPED)
        with trio.fail_after(LIMIT):
            while late() == late_before:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


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
