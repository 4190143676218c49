"""What the moving of bytes does to the loop that everything else runs on."""

from __future__ import annotations

from prometheus_client import Histogram

LOOP_LATENESS_SECONDS = Histogram(
    "spegel_gossip_loop_lateness_seconds",
    "How much later than due the event loop woke a task that slept: what every request waits for besides.",
    buckets=(0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
