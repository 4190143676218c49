"""What the keeper of `hosts.toml` counts."""

from prometheus_client import Counter, Gauge

CHANGES = Counter(
    "spegel_gossip_hosts_changes",
    "hosts.toml files written or removed because they were not as wanted.",
    ["change"],
)
FAILURES = Counter(
    "spegel_gossip_hosts_failures",
    "Rounds in which hosts.toml could not be looked after.",
)
BLOCKED = Gauge(
    "spegel_gossip_hosts_blocked",
    "Folders where our mirror is wanted and a hosts.toml had to be left alone.",
)
