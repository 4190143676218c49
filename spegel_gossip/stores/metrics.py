"""What operators see of the content store, whichever it is."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge(
    "spegel_gossip_store_connected", "1 while the store can be asked: containerd's socket answers."
)
BLOBS = Gauge("spegel_gossip_store_blobs", "Blobs held.")
BLOB_BYTES = Gauge("spegel_gossip_store_blob_bytes", "Bytes of the blobs held.")
TAGS = Gauge("spegel_gossip_store_tags", "Tags whose whole image is held.")
PARTIALS = Gauge("spegel_gossip_store_partials", "Blobs that are still arriving.")

IMAGES_SKIPPED = Counter("spegel_gossip_store_images_skipped_total", "Odd images that are not shared.")
BLOBS_VANISHED = Counter(
    "spegel_gossip_store_blobs_vanished_total",
    "Blobs that the store lists and the disk lacks, or has in another size.",
)
INOTIFY_OVERFLOWS = Counter(
    "spegel_gossip_store_inotify_overflows_total", "Times that file news was lost to a full queue."
)
