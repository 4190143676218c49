"""Membership as metrics, read from the driver whenever they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.member import Member, MemberState


@dataclass(frozen=True, slots=True)
class GossipStatus:
    """How membership stands at one moment."""

    members: Sequence[Member]
    """Ourselves and the ex-members included."""

    local_health: int
    """Lifeguard's score; 0 is well."""

    queue_length: int
    """Claims that wait to be disseminated."""

    streams_open: int
    """Push-pulls and TCP pings of ours under way."""

    counters: SwimCounters


class GossipCollector(Collector):
    """Exports the membership's numbers."""

    def __init__(self, read: Callable[[], GossipStatus]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not ask before the node runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        status = self._read()
        members = GaugeMetricFamily(
            "spegel_gossip_members", "Members by state, this one included.", labels=["state"]
        )
        count = Counter(member.state for member in status.members)
        for state in MemberState:
            members.add_metric([state.name.lower()], count[state])
        yield members
        yield GaugeMetricFamily(
            "spegel_gossip_swim_local_health",
            "Lifeguard's local health score: 0 is well, 7 is a node that cannot keep up.",
            value=status.local_health,
        )
        yield GaugeMetricFamily(
            "spegel_gossip_swim_queue_length",
            "Claims that wait to be disseminated.",
            value=status.queue_length,
        )
        yield GaugeMetricFamily(
            "spegel_gossip_swim_streams", "Push-pulls and TCP pings under way.", value=status.streams_open
        )
        for field in fields(status.counters):
            words = field.name.replace("_", " ")
            yield CounterMetricFamily(
                f"spegel_gossip_swim_{field.name}",
                f"SWIM: {words}, since this process began.",
                value=getattr(status.counters, field.name),
            )
