"""What the admin socket counts."""

from prometheus_client import Counter

REQUESTS = Counter(
    "spegel_gossip_admin_requests",
    "Requests on the admin socket, by status code.",
    ["status"],
)
