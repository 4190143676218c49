"""What operators see of the containerd store."""

from prometheus_client import Counter, Gauge, Histogram

CONNECTED = Gauge("spegel_gossip_containerd_connected", "1 while containerd's socket answers.")
BLOBS = Gauge("spegel_gossip_containerd_blobs", "Blobs held in the namespace.")
BLOB_BYTES = Gauge("spegel_gossip_containerd_blob_bytes", "Bytes of the blobs held in the namespace.")
TAGS = Gauge("spegel_gossip_containerd_tags", "Tags whose whole image is held.")
PARTIALS = Gauge("spegel_gossip_containerd_partials", "Blobs that are still arriving.")

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
IMAGES_SKIPPED = Counter("spegel_gossip_containerd_images_skipped_total", "Odd images that are not shared.")
BLOBS_VANISHED = Counter(
    "spegel_gossip_containerd_blobs_vanished_total",
    "Blobs that containerd lists and the disk lacks, or has in another size.",
)
INOTIFY_OVERFLOWS = Counter(
    "spegel_gossip_containerd_inotify_overflows_total", "Times that file news was lost to a full queue."
)
