"""Lifeguard's suspicion timer: the more members accuse, the shorter it runs."""

from __future__ import annotations

import math

from spegel_gossip.swim.config import SwimConfig


def suspicion_timeout(*, confirmations: int, wanted: int, minimum: float, maximum: float) -> float:
    """Return the full length of a suspicion in seconds, counted from its start.

    The length falls from `maximum` to `minimum` as `wanted` other members confirm
    the suspicion (Lifeguard, section IV-B, LHA-Suspicion):

        maximum - (maximum - minimum) * log(confirmations + 1) / log(wanted + 1)

    The first confirmation counts most: one accuser may itself be the slow member,
    two are unlikely to be.
    """
    if wanted < 1:
        # A cluster too small to confirm anything must not wait for it.
        return minimum
    fraction = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(minimum, maximum - (maximum - minimum) * fraction)


def shortest_suspicion(config: SwimConfig, n: int) -> float:
    """Return alpha * log10(n) probe intervals in seconds, the logarithm at least 1."""
    return config.suspicion_alpha * max(1.0, math.log10(max(1, n))) * config.probe_interval


def confirmations_wanted(config: SwimConfig, n: int) -> int:
    """Return Lifeguard's K: 0 where fewer than K members could confirm (departure 7)."""
    return config.confirmations_wanted if n - 2 >= config.confirmations_wanted else 0


class Suspicion:
    """The timer of one suspicion about one member at one incarnation."""

    def __init__(self, *, accuser: str, n: int, config: SwimConfig, now: float) -> None:
        self.started_at = now
        self._accusers = [accuser]
        self._wanted = confirmations_wanted(config, n)
        self._minimum = shortest_suspicion(config, n)
        self._maximum = self._minimum * config.suspicion_beta
        self.ends_at = now + self._timeout()

    @property
    def accusers(self) -> tuple[str, ...]:
        """Who suspects the member, the first accuser in front."""
        return tuple(self._accusers)

    def confirm(self, accuser: str) -> bool:
        """Count another accuser; return whether it was a new one that still counts.

        A confirmation that counts must be disseminated, or others could not count it.
        """
        if accuser in self._accusers or len(self._accusers) > self._wanted:
            return False
        self._accusers.append(accuser)
        self.ends_at = self.started_at + self._timeout()
        return True

    def postpone(self, seconds: float) -> None:
        """Move the whole suspicion, because this member was not running meanwhile."""
        self.started_at += seconds
        self.ends_at += seconds

    def _timeout(self) -> float:
        return suspicion_timeout(
            confirmations=len(self._accusers) - 1,
            wanted=self._wanted,
            minimum=self._minimum,
            maximum=self._maximum,
        )
