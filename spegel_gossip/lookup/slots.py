"""The line for containerd's slots, as this node's requests meet it."""

from __future__ import annotations

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.receptions import Receptions


class Slots:
    """What is known of the line from what arrives here, by the loop's clock (`routing.SlotLine`)."""

    def __init__(self, receptions: Receptions) -> None:
        """Take what arrives here."""
        self._receptions = receptions

    def waiting_leases(self, *, but: Digest) -> int:
        """Return how many upstream fetches of this node may wait for a slot, one blob's left out."""
        return self._receptions.waiting_leases(but=but)

    def are_wanted(self, *, but: Digest) -> bool:
        """Return whether other requests give way: many wait, or one waited so long that a slot was freed."""
        return self._receptions.want_slots(but=but, now=trio.current_time())

    def open_line(self) -> bool:
        """Return whether an answer from a whole copy ends in its middle, for a fetch that waits long."""
        return self._receptions.open_line(trio.current_time())

    def came_back(self, given_at: float) -> None:
        """Take in that a request is here again which gave its slot back then."""
        self._receptions.slot_came_back(given_at)
