"""Pings made on behalf of others."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.courier import Courier
from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.messages import Nack, PingReq
from spegel_gossip.swim.view import View

NACK_FRACTION = 0.8
"""Share of the probe timeout after which a relay without an ack says so (Lifeguard, departure 6)."""


@dataclass(slots=True)
class _Relay:
    asker: str
    asker_address: Address
    asker_seq: int
    target: str
    nack_at: float | None
    expires_at: float


class Relays:
    """The ping-reqs that this member is working on, by the number of its own ping."""

    def __init__(self, view: View, courier: Courier, config: SwimConfig, counters: SwimCounters) -> None:
        self._view = view
        self._courier = courier
        self._config = config
        self._counters = counters
        self._relays: dict[int, _Relay] = {}

    def asked(self, request: PingReq, asker: str, address: Address, now: float) -> None:
        """Ping the target of a ping-req."""
        if request.target == self._view.name:
            self._courier.ack(request.seq, to=address, target=asker, now=now)
            return
        if len(self._relays) >= self._config.max_relays:
            self._counters.relays_refused += 1
            return
        self._counters.relayed_pings += 1
        nack_at = now + NACK_FRACTION * self._config.probe_timeout
        # The slowest prober waits for the longest round that local health allows.
        expires_at = now + self._config.probe_interval * self._config.max_local_health
        entry = self._view.table.get(request.target)
        target = self._view.table.best_address(request.addresses) if entry is None else entry.address
        seq = self._courier.ping(request.target, to=target, now=now)
        self._relays[seq] = _Relay(asker, address, request.seq, request.target, nack_at, expires_at)

    def acked(self, seq: int, sender_name: str, now: float) -> None:
        """Pass an ack on, also one that comes after the nack."""
        relay = self._relays.get(seq)
        if relay is not None and relay.target == sender_name:
            del self._relays[seq]
            self._courier.ack(relay.asker_seq, to=relay.asker_address, target=relay.asker, now=now)

    def next_timer_at(self) -> float | None:
        """Return when the next nack is due, or the next relay is given up."""
        return min(
            (one.expires_at if one.nack_at is None else one.nack_at for one in self._relays.values()),
            default=None,
        )

    def handle_timer(self, now: float) -> None:
        """Send the nacks that are due, and forget what nobody waits for any more."""
        for seq, relay in list(self._relays.items()):
            if relay.nack_at is not None and relay.nack_at <= now:
                relay.nack_at = None
                self._courier.send(Nack(relay.asker_seq), to=relay.asker_address, target=relay.asker, now=now)
            if relay.expires_at <= now:
                del self._relays[seq]
