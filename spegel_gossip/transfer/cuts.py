"""Answers that were cut before their first byte, so that the next one is not.

containerd opens a cut body again where it ended, and takes three re-opens without a byte
in a row before the pull fails. A 404 sends it upstream at that same offset, so after two
empty answers that is what it gets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from spegel_gossip.oci.digest import Digest

MAX_BYTELESS: Final = 2
"""Empty answers in a row before a request gets a 404 unseen; containerd tolerates three."""

FORGET_TIMEOUT: Final = 60.0
"""Seconds after which an empty answer counts no more: that pull is over."""

MAX_REMEMBERED: Final = 1_024


class Cuts:
    """How often in a row each blob's answer was cut before its first byte."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the clock, in seconds."""
        self._clock = clock
        self._byteless: OrderedDict[Digest, tuple[int, float]] = OrderedDict()

    def ended(self, digest: Digest, *, delivered: int) -> None:
        """Take note of an answer that its sources failed, after so many bytes."""
        count, _ = self._byteless.pop(digest, (0, 0.0))
        if delivered == 0:
            self._byteless[digest] = (count + 1, self._clock() + FORGET_TIMEOUT)
            if len(self._byteless) > MAX_REMEMBERED:
                self._byteless.popitem(last=False)

    def must_refuse(self, digest: Digest) -> bool:
        """Return whether one more empty answer would be too many; the refusal settles it."""
        count, until = self._byteless.get(digest, (0, 0.0))
        if count < MAX_BYTELESS:
            return False
        del self._byteless[digest]
        return self._clock() < until
