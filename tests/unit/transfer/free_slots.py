"""`routing.SlotLine` at a node where nothing waits for one."""

from __future__ import annotations

from spegel_gossip.oci.digest import Digest


class FreeSlots:
    """Has no lease that waits, and keeps nothing of what it is told."""

    def waiting_leases(self, *, but: Digest) -> int:
        """Return that none waits."""
        return 0

    def are_wanted(self, *, but: Digest) -> bool:
        """Return that nothing is in want of one."""
        return False

    def open_line(self) -> bool:
        """Return that nothing ends for another's sake."""
        return False

    def came_back(self, given_at: float) -> None:
        """Take in that a request is here again."""
