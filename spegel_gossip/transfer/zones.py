"""Bytes by pair of zones: what crosses a zone's border is what a cloud provider bills."""

from __future__ import annotations

from typing import Final

from spegel_gossip.transfer import metrics

MAX_ZONES: Final = 64
"""Zones counted by name; members say what their zone is, and none of them may grow the metric."""

OTHER: Final = "other"


class ZoneCounter:
    """Counts what comes to this node, by where it came from."""

    def __init__(self, own_zone: str) -> None:
        """Take this node's own zone; it may be empty."""
        self._own = own_zone
        self._seen: set[str] = set()

    def received(self, count: int, *, zone: str) -> None:
        """Count bytes from a member of a zone."""
        if zone not in self._seen:
            if len(self._seen) >= MAX_ZONES:
                zone = OTHER
            else:
                self._seen.add(zone)
        metrics.ZONE_BYTES.labels(zone, self._own).inc(count)
