"""When to try again: exponential back-off with jitter, bounded, and the registry's word first."""

from __future__ import annotations

import random

from spegel_gossip.backoff import backoff
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.errors import TransientError


class Patience:
    """What is left of it, for one thing that is tried again and again."""

    def __init__(self, config: ClientConfig, rng: random.Random) -> None:
        """Start with all of it."""
        self._config = config
        self._rng = rng
        self._in_a_row = 0
        self._in_all = 0

    def delay_after(self, failure: TransientError, *, has_progressed: bool = False) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Without the registry's own word the delay before attempt n + 1 is drawn evenly from
        the upper half of min(max_delay, first_delay * 2 ** (n - 1)): many clients that were
        cut off together must not come back together.

        Args:
            failure: what the last attempt ended with
            has_progressed: whether that attempt moved anything; then the count starts anew
        """
        self._in_all += 1
        self._in_a_row = 1 if has_progressed else self._in_a_row + 1
        config = self._config
        attempts = config.attempts_to_connect if failure.is_unreachable else config.attempts
        if self._in_a_row >= attempts or self._in_all >= config.max_resumes:
            return None
        if failure.retry_after is not None:
            return None if failure.retry_after > config.max_retry_after else failure.retry_after
        longest = backoff(self._in_a_row - 1, first=config.first_delay, longest=config.max_delay)
        return longest * (0.5 + 0.5 * self._rng.random())
