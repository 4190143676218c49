"""What operators see of the connection to containerd."""

from prometheus_client import Counter, Histogram

LOSSES = Counter("spegel_gossip_containerd_losses_total", "Times that a connected containerd was lost.")
RPC_ERRORS = Counter("spegel_gossip_containerd_rpc_errors_total", "Failed gRPC calls.", ["code"])
RECONCILES = Counter("spegel_gossip_containerd_reconciles_total", "Full comparisons with containerd.")
RECONCILE_SECONDS = Histogram(
    "spegel_gossip_containerd_reconcile_seconds",
    "Time of a full comparison.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
RECONCILE_CORRECTIONS = Counter(
    "spegel_gossip_containerd_reconcile_corrections_total",
    "Blobs that a full comparison added or removed, after the first: news that was missed.",
)
WRONG_BLOBS = Counter(
    "spegel_gossip_containerd_wrong_blobs_total",
    "Blobs that arrived whole and with wrong bytes; their ingests were thrown away.",
)
