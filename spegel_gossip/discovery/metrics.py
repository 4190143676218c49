"""What the sources of seeds said. Labelled by the kind of source, which the operator chose."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SEEDS = Gauge("spegel_gossip_discovery_seeds", "Seed addresses found when last looked for.")
FAILURES = Counter("spegel_gossip_discovery_failures", "Times that a source of seeds gave no answer.")
