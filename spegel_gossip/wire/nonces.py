"""Nonces of requests that were served: a signed request works once."""

from __future__ import annotations

MAX_NONCES = 65_536
"""A thousand requests a second for a whole window; 8 MB. Only signed requests get in."""


class NonceMemory:
    """Nonces seen, each until its request's time is out of the window."""

    def __init__(self) -> None:
        self._expires_at: dict[str, float] = {}

    def accept(self, nonce: str, *, expires_at: float, now: float) -> bool:
        """Remember a nonce; False if it is known already.

        When full, the oldest is forgotten: it is the one with the least left of its
        window, and refusing would let one busy member lock the others out.
        """
        while self._expires_at:
            oldest = next(iter(self._expires_at))
            if self._expires_at[oldest] > now and len(self._expires_at) < MAX_NONCES:
                break
            del self._expires_at[oldest]
        if nonce in self._expires_at:
            return False
        self._expires_at[nonce] = expires_at
        return True
