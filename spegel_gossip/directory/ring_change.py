"""A change of the ring, looked through a few keys at a time.

Which keys change hands costs some 4 microseconds a key, and a node has thousands that
it holds or owns: all at once they would keep the event loop from its pings for tens
of milliseconds. Rings are never changed once made, so the driver has the keys looked
through in slices, and the change itself only acts on those that were found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.ring.handover import Handover, handovers
from spegel_gossip.ring.ring import Ring

RING_CHANGE_INTERVAL: Final = 1.0
"""Shortest time between two changes of the ring; what happens in between is applied together."""

LOOK_BURST: Final = 256
"""Keys looked at before the other tasks get a turn: a millisecond."""


class RingChange:
    """What changes hands between two rings. What was not looked at before is looked at when asked for."""

    def __init__(
        self, before: Ring, after: Ring, renewed: Collection[str] = (), keys: Iterable[PackedKey] = ()
    ) -> None:
        """Begin.

        Args:
            before: the ring until now
            after: the ring from then on
            renewed: members who live a new boot and so know nothing of what they own
            keys: what is to be looked at beforehand
        """
        self.before = before
        self.after = after
        self.renewed = dict.fromkeys(renewed)
        self._found: dict[PackedKey, Handover] = {}
        self._seen: dict[PackedKey, None] = {}
        self._waiting = list(dict.fromkeys(keys))

    def look_at_some(self) -> bool:
        """Look at a few of the keys; return whether there are more."""
        burst = self._waiting[-LOOK_BURST:]
        del self._waiting[-LOOK_BURST:]
        self._look_at(burst)
        return bool(self._waiting)

    def among(self, keys: Collection[PackedKey]) -> Iterator[tuple[PackedKey, Handover]]:
        """Yield the keys that change hands; for a renewed owner as if it had not owned them before."""
        self._look_at([key for key in keys if key not in self._seen])
        for key in list(keys):
            handover = self._found.get(key)
            if handover is not None:
                yield key, handover

    def _look_at(self, keys: Iterable[PackedKey]) -> None:
        by_token: dict[int, list[PackedKey]] = {}
        for key in keys:
            self._seen[key] = None
            by_token.setdefault(token_of(key), []).append(key)
        for handover in handovers(self.before, self.after, by_token):
            for key in by_token[handover.token]:
                self._found[key] = handover
        if self.renewed:
            self._add_renewed(by_token)

    def _add_renewed(self, by_token: dict[int, list[PackedKey]]) -> None:
        for token, keys in by_token.items():
            again = tuple(name for name in self.after.preference_list(token) if name in self.renewed)
            for key in keys if again else ():
                found = self._found.get(key, Handover(token, (), ()))
                gained = tuple(dict.fromkeys((*found.gained, *again)))
                self._found[key] = Handover(token, gained, found.lost)
