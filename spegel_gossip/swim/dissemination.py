"""The claims that still have to be spread, and how often each was sent."""

from __future__ import annotations

import math

SMALLEST_CLAIM_BYTES = 32
"""Below this room no claim fits, so none is looked for."""

MAX_MISFITS = 16
"""Claims too long for the room left that are passed over before a datagram is called full."""


def transmit_limit(multiplier: int, n: int) -> int:
    """Return how often one claim is sent by each member: multiplier * ceil(log10(n + 1))."""
    return multiplier * math.ceil(math.log10(n + 1))


class DisseminationQueue:
    """Claims in the order in which they should be piggybacked.

    The least sent goes first, and of those the newest: SWIM section 4.1. There is
    one claim for each member, because a newer one replaces the older, so the queue
    is bounded by the membership table.
    """

    def __init__(self, *, max_claim_bytes: int) -> None:
        self._max_claim_bytes = max_claim_bytes
        self._transmits: dict[str, int] = {}
        # One dict for each transmit count: name to encoded claim, oldest first.
        self._tiers: list[dict[str, bytes]] = []

    def __len__(self) -> int:
        return len(self._transmits)

    def __contains__(self, name: str) -> bool:
        return name in self._transmits

    def add(self, name: str, data: bytes) -> None:
        """Queue an encoded claim, replacing what was to be said about that member.

        One too long for a datagram is left to push-pull.
        """
        self.discard(name)
        if len(data) <= self._max_claim_bytes:
            self._put(name, data, 0)

    def discard(self, name: str) -> None:
        """Forget what was to be said about a member."""
        transmits = self._transmits.pop(name, None)
        if transmits is not None:
            del self._tiers[transmits][name]

    def clear(self) -> None:
        """Forget everything: there is nobody to tell."""
        self._transmits.clear()
        self._tiers.clear()

    def take(self, room: int, *, limit: int, omit: str = "") -> list[bytes]:
        """Return encoded claims of at most `room` bytes together, and count them as sent.

        Args:
            room: bytes that are left in the datagram
            limit: how often a claim is sent before it is forgotten
            omit: a member about whom the datagram says something already
        """
        if not self._transmits:
            return []  # as nearly always: an idle cluster says nothing
        picked = self._pick(room, omit=omit)
        for name, data, transmits in picked:
            self.discard(name)
            if transmits + 1 < limit:
                self._put(name, data, transmits + 1)
        return [data for _, data, _ in picked]

    def _pick(self, room: int, *, omit: str) -> list[tuple[str, bytes, int]]:
        picked: list[tuple[str, bytes, int]] = []
        misfits = 0
        for transmits, tier in enumerate(self._tiers):
            for name in reversed(tier):
                if room < SMALLEST_CLAIM_BYTES or misfits == MAX_MISFITS:
                    return picked
                data = tier[name]
                if len(data) > room:
                    misfits += 1
                elif name != omit:
                    picked.append((name, data, transmits))
                    room -= len(data)
        return picked

    def _put(self, name: str, data: bytes, transmits: int) -> None:
        while len(self._tiers) <= transmits:
            self._tiers.append({})
        self._tiers[transmits][name] = data
        self._transmits[name] = transmits
