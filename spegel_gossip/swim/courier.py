"""How datagrams leave: every one takes along as many claims as it has room for."""

from __future__ import annotations

from collections.abc import Sequence

from spegel_gossip.swim import codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.dissemination import transmit_limit
from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ack, Message, Ping
from spegel_gossip.swim.outbox import Datagram, Outbox
from spegel_gossip.swim.view import View


class Courier:
    """Makes datagrams out of messages, with claims piggybacked."""

    def __init__(self, view: View, config: SwimConfig, outbox: Outbox, counters: SwimCounters) -> None:
        self._view = view
        self._config = config
        self._outbox = outbox
        self._counters = counters
        self._seq = 0
        self.clock_ahead: float | None = None
        """Unix seconds less the seconds that every call is given as `now`; None while unknown."""

    def ping(self, target: str, *, to: Address, now: float) -> int:
        """Send a ping and return its number, which no other ping of ours has."""
        self._seq = (self._seq + 1) % codec.SEQ_LIMIT
        ping = Ping(self._seq, self._view.own.member.incarnation, self._note_for(target))
        self.send(ping, to=to, target=target, now=now)
        return self._seq

    def ack(self, seq: int, *, to: Address, target: str, now: float) -> None:
        """Answer a ping, with the time by our clock (departure 5)."""
        time_ms = 0 if self.clock_ahead is None else max(0, round(1000 * (now + self.clock_ahead)))
        own = self._view.own.member
        ack = Ack(seq, own.incarnation, self._note_for(target), time_ms % codec.TIME_LIMIT)
        self.send(ack, to=to, target=target, now=now)

    def send(self, message: Message | None, *, to: Address, target: str, now: float) -> None:
        """Send a message, or claims alone; nothing if there is neither."""
        parts = [] if message is None else [codec.encode(message)]
        room = self._config.max_datagram_bytes - sum(map(len, parts))
        urgent = self._urgent(target, now)
        if urgent is not None and len(urgent) <= room:
            parts.append(urgent)
            room -= len(urgent)
        limit = transmit_limit(self._config.transmit_multiplier, self._view.table.n)
        claims = self._view.queue.take(room, limit=limit, omit=target if urgent is not None else "")
        self._counters.claims_sent += len(claims)
        parts.extend(claims)
        self._put(parts, to=to, target=target)

    def _put(self, parts: list[bytes], *, to: Address, target: str) -> None:
        if not parts:
            return
        data = b"".join(parts)
        self._counters.datagrams_sent += 1
        self._counters.datagram_bytes_sent += len(data)
        self._outbox.send(Datagram(data, to, target))

    def correct(self, claims: Sequence[Claim], *, to: Address, target: str) -> None:
        """Tell a member what it missed; what does not fit one datagram is left to the next time."""
        room = self._config.max_datagram_bytes
        parts: list[bytes] = []
        for claim in claims:
            data = codec.encode(claim)
            if len(data) <= room:
                parts.append(data)
                room -= len(data)
        self._put(parts, to=to, target=target)

    def _note_for(self, name: str) -> bytes:
        """Return what the layer above wants to tell a member (departure 5)."""
        entry = self._view.table.get(name)
        return b"" if entry is None else entry.note

    def _urgent(self, target: str, now: float) -> bytes | None:
        """Return the claim that this target must hear before any other.

        Lifeguard's buddy system: who is held suspect is told so on first contact, and
        can deny it at once. We tell the dead and the left as well, whether or not the
        claim is still in the queue; that is how a healed partition becomes one
        cluster (departure 4). Having left ourselves, we say that instead.
        """
        own = self._view.own
        if own.state is MemberState.LEFT and own.name not in self._view.queue:
            return codec.encode_packed_claim(own.packed, own.age(now))
        entry = self._view.table.get(target)
        if entry is None or entry.state is MemberState.ALIVE or not self._config.has_buddy_system:
            return None
        return codec.encode_packed_claim(entry.packed, entry.age(now))
