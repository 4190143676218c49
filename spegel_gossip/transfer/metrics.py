"""What goes between this node and others. Labels are closed sets: no peer can add a series."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BYTES = Counter(
    "spegel_gossip_transfer_bytes",
    "Bytes of blobs and manifests between nodes, by direction and by what they were read from.",
    ["direction", "source"],
)

ARRIVED_BYTES = Counter(
    "spegel_gossip_transfer_arrived_bytes",
    "Bytes of blobs and manifests that came to this node after its mirror was asked for them, by where they "
    "came from: the registry, a node with a complete copy, or one with a partial copy.",
    ["origin"],
)

ZONE_BYTES = Counter(
    "spegel_gossip_transfer_zone_bytes",
    "Bytes of blobs and manifests that this node received, by the sender's zone and its own.",
    ["source_zone", "zone"],
)

IN_FLIGHT = Gauge(
    "spegel_gossip_transfer_in_flight",
    "Blobs that are being sent to or received from other nodes now.",
    ["direction"],
)

FIRST_BYTE_SECONDS = Histogram(
    "spegel_gossip_transfer_first_byte_seconds",
    "Time until a holder's answer to a request of ours begins, lookup and failed holders included.",
    ["kind"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 5, 10, 20),
)

SOURCE_SWITCHES = Counter(
    "spegel_gossip_transfer_source_switches",
    "Holders that were given up for the next one, by why.",
    ["reason"],
)

UPLOADS = Counter(
    "spegel_gossip_transfer_uploads",
    "Requests of other nodes for blobs and manifests, by how they were answered.",
    ["outcome"],
)

MANIFEST_CACHE_HITS = Counter(
    "spegel_gossip_transfer_manifest_cache_hits",
    "Manifests answered from memory, or together with another request for the same one.",
)

HEDGES = Counter(
    "spegel_gossip_transfer_hedges",
    "Requests for a blob sent to a second holder because the first took unusually long to begin.",
)

HELD = Gauge(
    "spegel_gossip_transfer_requests_held",
    "Requests of this node's containerd for blobs and manifests whose first byte is waited for now.",
)

YIELDS = Counter(
    "spegel_gossip_transfer_yields",
    "Answers to containerd ended before their first byte, or in the middle of a whole copy, so that its own "
    "upstream request gets the slot.",
)

BANS = Counter(
    "spegel_gossip_transfer_bans",
    "Holders that are not asked for a blob any more, because wrong bytes of it arrived here.",
)
