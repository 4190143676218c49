"""Measures how late the loop runs: a task that sleeps and looks at the clock when it wakes."""

from __future__ import annotations

import trio

from spegel_gossip.splice import metrics

SAMPLE_INTERVAL = 0.1
"""Seconds between looks: ten wake-ups a second cost an idle node a thousandth of a core."""


async def run_lateness_probe() -> None:
    """Observe the loop's lateness until cancelled."""
    while True:
        due_at = trio.current_time() + SAMPLE_INTERVAL
        await trio.sleep_until(due_at)
        metrics.LOOP_LATENESS_SECONDS.observe(max(0.0, trio.current_time() - due_at))
