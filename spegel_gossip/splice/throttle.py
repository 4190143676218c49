"""A bound on bytes a second, shared by all who send under it."""

from __future__ import annotations

import math

import trio

BURST_SECONDS = 0.25
"""Seconds of unused rate that may be made up for at once; more would not be a bound."""

ROUND_SECONDS = 0.25
"""Seconds in which everybody has had a turn; who reads gives up a source that sends nothing for 2 s."""

MIN_TURN = 16 << 10
"""Bytes taken at once however many wait; less costs more in turns than in bytes."""


class Throttle:
    """A token bucket, kept as the time at which it will be full again.

    Who asks first goes first, and whoever asks waits for its own bytes alone, so many
    transfers share the rate turn by turn.
    """

    def __init__(self, bytes_per_second: float) -> None:
        """Start full."""
        if bytes_per_second <= 0:
            raise ValueError(f"a rate of {bytes_per_second} bytes a second moves nothing")
        self._rate = bytes_per_second
        self._free_at = -math.inf
        self._waiting = 0

    @property
    def turn(self) -> int:
        """The bytes to take at once, so that all who wait come round in about `ROUND_SECONDS`."""
        return max(MIN_TURN, int(self._rate * ROUND_SECONDS / (self._waiting + 1)))

    async def take(self, count: int) -> None:
        """Return when `count` bytes may be sent."""
        now = trio.current_time()
        begins_at = max(self._free_at, now - BURST_SECONDS)
        self._free_at = begins_at + count / self._rate
        self._waiting += 1
        try:
            await trio.sleep_until(
                max(begins_at, now)
            )  # a checkpoint also where there is nothing to wait for
        finally:
            self._waiting -= 1
