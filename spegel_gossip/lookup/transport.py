"""Directory messages to members: as datagrams where they fit and arrive, as requests where not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from spegel_gossip.directory.outgoing import Outgoing
from spegel_gossip.lookup import metrics
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.errors import WireError
from spegel_gossip.wire.kinds import DatagramKind

log = structlog.get_logger(__name__)

BATCH_PATH: Final = "/directory/batch"
"""Takes any directory message, answers with the message a datagram would be answered with."""

STREAM_TIMEOUT: Final = 10.0
"""Seconds for a request in all; below the engine's own patience with a batch."""

MAX_STREAMS: Final = 8
"""Requests under way at once: after a join of many, batches wait here, not in the peers' kernels."""

MAX_WAITING: Final = 8_192
"""Requests waiting, of which the oldest is lost first; a lost one is told again by the engine."""

DATAGRAMS_LOST_INTERVAL: Final = 60.0
"""Seconds for which a member that answered over TCP only is asked over TCP at once."""


class Transport:
    """Knows where members are, and by which way they are reached."""

    def __init__(
        self,
        own: tuple[Address, ...],
        datagrams: Datagrams,
        client: PeerClient,
        *,
        is_udp_blocked: Callable[[str], bool],
    ) -> None:
        """Begin knowing nobody.

        Args:
            own: this node's addresses, by whose families others are reached
            datagrams: the UDP socket
            client: for requests
            is_udp_blocked: whether membership has found that a member answers over TCP only
        """
        self._is_udp_blocked = is_udp_blocked
        self.moved(own)
        self._datagrams = datagrams
        self._client = client
        self._peers: dict[str, Peer] = {}
        self._heard_at: dict[str, Address] = {}
        self._deaf_until: dict[str, float] = {}
        self.streams: deque[Outgoing] = deque(maxlen=MAX_WAITING)

    def moved(self, own: tuple[Address, ...]) -> None:
        """Have other addresses from now on."""
        self._has_v6 = any(":" in address.host for address in own)
        self._has_v4 = any(":" not in address.host for address in own)

    def put(self, peer: Peer) -> None:
        """Know a member, and where it is."""
        self._peers[peer.name] = peer

    def remove(self, name: str) -> None:
        """Know a member no more."""
        for table in (self._peers, self._heard_at, self._deaf_until):
            table.pop(name, None)

    def peer(self, name: str) -> Peer | None:
        """Return a live member other than this node."""
        return self._peers.get(name)

    def heard(self, name: str, address: Address) -> None:
        """Remember at which of its addresses a member's datagrams come in."""
        peer = self._peers.get(name)
        if peer is not None and address in peer.addresses:
            self._heard_at[name] = address

    def only_streams_reach(self, name: str, now: float) -> None:
        """Remember that a member answered over TCP what it did not answer over UDP."""
        if name in self._peers:
            self._deaf_until[name] = now + DATAGRAMS_LOST_INTERVAL

    def send(self, message: Outgoing, now: float) -> None:
        """Send without waiting; what is for a request waits in `streams`."""
        peer = self._peers.get(message.to)
        if peer is None:
            return
        is_long = len(message.body) > self._datagrams.max_body
        if message.by_stream or is_long or self._is_deaf(message.to, now):
            self.streams.append(message)
        else:
            self.reply(message.body, to=self._address(peer), target=message.to)

    def reply(self, body: bytes, *, to: Address, target: str) -> None:
        """Send one datagram to where one came from."""
        self._datagrams.send(DatagramKind.DIRECTORY, body, to=to, target=target)

    async def stream(self, message: Outgoing) -> bytes | None:
        """Send a message as a request; return the answering message, or None if it did not get there.

        Whoever takes messages out of `streams` sees to it that `MAX_STREAMS` are under way at most.
        """
        peer = self._peers.get(message.to)
        if peer is None:
            return None
        try:
            answer = await self._client.call(
                peer, "POST", BATCH_PATH, body=message.body, timeout=STREAM_TIMEOUT
            )
        except WireError as exc:
            metrics.BATCHES.labels("failed").inc()
            log.debug("directory request failed", to=message.to, reason=str(exc))
            return None
        is_taken = answer.status == 200
        metrics.BATCHES.labels("answered" if is_taken else "refused").inc()
        return answer.body if is_taken else None

    def _is_deaf(self, name: str, now: float) -> bool:
        # What was seen here is forgotten after a while, for nothing else would try UDP again; membership's
        # word stands until its own pings get through.
        return self._deaf_until.get(name, 0.0) > now or self._is_udp_blocked(name)

    def _address(self, peer: Peer) -> Address:
        heard_at = self._heard_at.get(peer.name)
        if heard_at in peer.addresses and heard_at is not None:
            return heard_at
        # Of a dual-stack member, an address of a family that this node has too.
        for address in peer.addresses:
            if self._has_v6 if ":" in address.host else self._has_v4:
                return address
        return peer.addresses[0]
