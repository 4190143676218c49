"""What the mirror counts. Labels are closed sets: no client can add a series."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "spegel_gossip_registry_requests",
    "Requests answered by the mirror, by what was asked for and where the answer came from.",
    ["kind", "method", "outcome"],
)

FIRST_BYTE_SECONDS = Histogram(
    "spegel_gossip_registry_first_byte_seconds",
    "Time from a request to the head of its answer, which goes out when the first byte is at hand.",
    ["kind", "outcome"],
    # A local manifest takes half a millisecond; a request is given up at 20 s.
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 5, 10, 20),
)

SENT_BYTES = Counter(
    "spegel_gossip_registry_sent_bytes",
    "Bytes of blobs and manifests handed to containerd, by where they came from.",
    ["kind", "outcome"],
)

DELIVERIES = Counter(
    "spegel_gossip_registry_blob_deliveries",
    "Blob bodies begun, by how they ended. A client that closes early is normal.",
    ["ending"],
)

TAGS_REFUSED = Counter(
    "spegel_gossip_registry_tags_refused",
    "Tags left to the registry by policy: always, or as what the cluster knows is too old.",
    ["policy"],
)

STORE_FAILURES = Counter(
    "spegel_gossip_registry_store_failures",
    "Requests for which the local content store could not say whether it has the content.",
)

CORRUPT_MANIFESTS = Counter(
    "spegel_gossip_registry_corrupt_manifests",
    "Manifests in the local content store whose bytes are not those of their digest.",
)
