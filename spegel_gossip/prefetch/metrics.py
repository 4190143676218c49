"""What was prefetched here."""

from __future__ import annotations

from prometheus_client import Counter

PULLS = Counter(
    "spegel_gossip_prefetch_pulls",
    "Images that this node's store was had to pull by a prefetch, by how that ended.",
    ["outcome"],
)
