"""What stand-ins of owners (`routing.FetchRouter`) share, with the line for slots (`routing.SlotLine`)."""

from __future__ import annotations

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import FetchNeed, Peer


class FreeSlots:
    """Has no lease that waits, and keeps when slots were given that came back."""

    def __init__(self) -> None:
        self.came: list[float] = []

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
        self.came.append(given_at)


class Bystanders:
    """Know no member, and keep which requests ended; whom to read from is said by who inherits."""

    def __init__(self) -> None:
        self.needs: list[FetchNeed] = []
        self.gone: list[Digest] = []

    def place_of(self, digest: Digest) -> tuple[int, int]:
        """Return that nothing is here."""
        return 0, 0

    def peer(self, name: str) -> Peer | None:
        """Return that it is no member."""
        return None

    def left(self, digest: Digest) -> None:
        """Take in that a request ended before its blob did."""
        self.gone.append(digest)
