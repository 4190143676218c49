"""How a blob spreads, put into words for whoever wants it explained."""

from __future__ import annotations

from spegel_gossip.directory.messages import MAX_ARRIVALS_TOLD, Arrival, Spreading
from spegel_gossip.directory.spread import Receiver, Spread
from spegel_gossip.swim.names import name_hash


def spreading_of(spread: Spread, now: float) -> Spreading:
    """Return who receives a blob, from whom, and who fetches it from upstream.

    A node that has it all is no arrival any more: its record as a holder is there, or on its way.
    """
    receivers = [one for one in spread.receivers.values() if not one.is_done]
    receivers.sort(key=lambda one: (one.lease is None, -one.offset, one.name))
    return Spreading(
        tuple(_arrival(one, now) for one in receivers[:MAX_ARRIVALS_TOLD]),
        receivers=len(receivers),
        waiting=len(spread.waiting),
        refused_ms=max(0, round((spread.refused_until - now) * 1000)),
    )


def _arrival(receiver: Receiver, now: float) -> Arrival:
    lease = receiver.lease
    return Arrival(
        name_hash(receiver.name),
        receiver.offset,
        receiver.total,
        None if lease is None else max(0, round((now - lease.granted_at) * 1000)),
        0 if receiver.parent is None else name_hash(receiver.parent),
    )
