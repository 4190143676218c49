"""What the two peer sockets did. No label takes a value that a peer can choose."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DATAGRAMS = Counter(
    "spegel_gossip_wire_datagrams",
    "Datagrams that were sent, or received and accepted.",
    ["kind", "direction"],
)
DATAGRAM_BYTES = Counter(
    "spegel_gossip_wire_datagram_bytes",
    "Bytes of datagrams that were sent, or received and accepted, without IP and UDP headers.",
    ["kind", "direction"],
)
DROPPED = Counter(
    "spegel_gossip_wire_datagrams_dropped",
    "Datagrams that arrived and were dropped: not ours, damaged, replayed; or, as internal, by a bug.",
    ["reason"],
)
UNSENT = Counter(
    "spegel_gossip_wire_datagrams_unsent",
    "Datagrams that the kernel would not take.",
    ["reason"],
)
REQUESTS = Counter(
    "spegel_gossip_wire_requests",
    "Requests between peers that were answered, by the answer's class.",
    ["direction", "status"],
)
REFUSED = Counter(
    "spegel_gossip_wire_requests_refused",
    "Requests that arrived and were not served: 401 and 403 answers, garbage, full tables.",
    ["reason"],
)
CLOCKS_CORRECTED = Counter(
    "spegel_gossip_wire_clocks_corrected",
    "Times that another member's clock was found more than half a minute off ours, and allowed for.",
)
DISPLACED = Counter(
    "spegel_gossip_wire_connections_displaced",
    "Connections on which nothing was asked that were closed to make room for a new one.",
)
CONNECTIONS = Gauge(
    "spegel_gossip_wire_connections",
    "TCP connections from peers that are open now.",
)
