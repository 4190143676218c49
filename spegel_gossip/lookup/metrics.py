"""What the directory does here, as an asker, an owner and a holder."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LOOKUPS = Counter(
    "spegel_gossip_lookups",
    "Lookups by what was looked up and how it ended.",
    ["kind", "outcome"],
)
LOOKUP_SECONDS = Histogram(
    "spegel_gossip_lookup_seconds",
    "Time of lookups that the cache did not answer.",
    ["outcome"],
    # From a quarter of a millisecond: an owner in the same rack answers in half of one.
    buckets=(0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0),
)
HEDGES = Counter(
    "spegel_gossip_lookup_hedges",
    "Owners asked beyond the first of a lookup, as it was slow or could not know.",
)
RECORDS = Gauge(
    "spegel_gossip_directory_records",
    "Records kept here as an owner, by kind.",
    ["kind"],
)
ADVERTISED = Gauge(
    "spegel_gossip_directory_advertised",
    "Keys that this node advertises as a holder.",
)
RING_MEMBERS = Gauge(
    "spegel_gossip_ring_members",
    "Members on the ring.",
)
RING_CHANGES = Counter(
    "spegel_gossip_ring_changes",
    "Changes of the ring; each may be many members at once.",
)
MISSES = Counter(
    "spegel_gossip_directory_misses",
    "Records that promised what was not there: reported by this node, or found true or false of it.",
    ["outcome"],
)
RESYNCS = Counter(
    "spegel_gossip_directory_resyncs",
    "Resyncs asked for because a member's note was not what is held of it here.",
)
MOVED = Counter(
    "spegel_gossip_directory_records_moved",
    "Records told to members that became owners by a change of the ring.",
)
PURGES = Counter(
    "spegel_gossip_tag_purges",
    "Purges of tags that this node heard of, its own among them.",
)
REFUSED = Counter(
    "spegel_gossip_directory_records_refused",
    "Records not kept, or keys not advertised, because a table was full: some holders are not found.",
)
BATCHES = Counter(
    "spegel_gossip_directory_streams",
    "Directory messages that went as requests over TCP.",
    ["outcome"],
)

FETCHES = Counter(
    "spegel_gossip_lookup_fetches",
    "What owners had this node do about blobs that its containerd wanted, by their word.",
    ["verdict"],
)

LEASES = Counter(
    "spegel_gossip_lookup_leases",
    "What this node did as an owner of blobs that are fetched from upstream.",
    ["what"],
)

LEASES_HELD = Gauge(
    "spegel_gossip_lookup_leases_held",
    "Fetches from upstream that this node looks after as an owner.",
)

QUESTIONS_WAITING = Gauge(
    "spegel_gossip_lookup_fetches_waiting",
    "Nodes that wait for this one's word whom to read a blob from.",
)
