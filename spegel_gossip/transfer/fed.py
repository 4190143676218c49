"""A copy that is still arriving, for as long as it is on its way to this node."""

from __future__ import annotations

from collections.abc import Callable

from spegel_gossip.content import PartialBlob, PartialStatus


class FedCopy:
    """A growing copy that counts as given up if this node's request for it ended before its first byte.

    A request that gave its slot back comes again when its turn comes, seconds later. Whoever was told to
    read from this node, as one that would have bytes, has better sources by then, and holds a slot meanwhile.
    """

    def __init__(self, copy: PartialBlob, is_idle: Callable[[], bool]) -> None:
        """Take the copy, and what says whether nobody sends it to this node."""
        self._copy = copy
        self._is_idle = is_idle

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""
        return self._copy.total

    def fileno(self) -> int:
        """Return the copy's descriptor."""
        return self._copy.fileno()

    def poll(self) -> PartialStatus | None:
        """Return how far it is, or None once it is not to be waited for."""
        status = self._copy.poll()
        if status is not None and not status.offset and self._is_idle():
            return None
        return status

    async def aclose(self) -> None:
        """Release the descriptor."""
        await self._copy.aclose()
