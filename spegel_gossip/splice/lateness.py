"""Measures how late the loop runs: a task that sleeps and looks at the clock when it wakes."""

from __future__ import annotations

import trio

from spegel_gossip.splice import metrics

SAMPLE_INTERVAL = 0.1
"""Seconds between looks while the loop has work."""

IDLE_INTERVAL = 0.8
"""Seconds between looks at a loop that is on time.

Ten wake-ups a second were half of all that an idle node did, and a seventh of a percent of
a core. That late times are looked at more often makes what is measured look worse than it
is, never better.
"""

PUNCTUAL = 0.004
"""Seconds of lateness that the kernel and a short turn of another task account for."""


async def run_lateness_probe() -> None:
    """Observe the loop's lateness until cancelled."""
    interval = SAMPLE_INTERVAL
    while True:
        due_at = trio.current_time() + interval
        await trio.sleep_until(due_at)
        late = max(0.0, trio.current_time() - due_at)
        metrics.LOOP_LATENESS_SECONDS.observe(late)
        interval = min(IDLE_INTERVAL, 2 * interval) if late < PUNCTUAL else SAMPLE_INTERVAL
