"""The part of `routing.FetchRouter` that is about slots, at a node where nothing waits for one."""

from __future__ import annotations

from spegel_gossip.oci.digest import Digest


class FreeSlots:
    """Has no lease that waits, and keeps nothing of what it is told: for stand-ins of owners."""

    def left(self, digest: Digest) -> None:
        """Take in that a request ended before its blob did."""

    def waiting_leases(self, *, but: Digest) -> int:
        """Return that none waits."""
        return 0

    def want_slots(self, *, but: Digest) -> bool:
        """Return that nothing does."""
        return False

    def slot_came_back(self, given_at: float) -> None:
        """Take in that a request is here again."""
