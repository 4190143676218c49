"""Lifeguard's suspicion timer: the more members accuse, the shorter it runs."""

from __future__ import annotations

import heapq
import math

from spegel_gossip.swim.config import SwimConfig

MIN_ENDS_TO_TIDY = 64
"""Ends that are kept before those that were overtaken are looked for."""


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


class Suspicions:
    """The suspicions that run, by member, with the next end at hand.

    When a cluster splits, each half suspects the whole other half, and the next end is
    asked for after every datagram: a heap, in which what was overtaken is passed over.
    """

    def __init__(self, config: SwimConfig) -> None:
        self._config = config
        self._running: dict[str, Suspicion] = {}
        self._ends: list[tuple[float, str]] = []

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def get(self, name: str) -> Suspicion | None:
        """Return the suspicion that runs against a member."""
        return self._running.get(name)

    def begin(self, name: str, *, accuser: str, n: int, now: float) -> None:
        """Let a suspicion run, in place of one that may run already."""
        suspicion = Suspicion(accuser=accuser, n=n, config=self._config, now=now)
        self._running[name] = suspicion
        self._note_end(name, suspicion)

    def confirm(self, name: str, accuser: str) -> bool:
        """Count another accuser; return whether it was a new one that still counts."""
        suspicion = self._running.get(name)
        if suspicion is None or not suspicion.confirm(accuser):
            return False
        self._note_end(name, suspicion)
        return True

    def end(self, name: str) -> None:
        """Forget a suspicion, if there is one."""
        self._running.pop(name, None)

    def postpone(self, seconds: float) -> None:
        """Move all of them: this member was not running, so nothing could be refuted to it."""
        for suspicion in self._running.values():
            suspicion.postpone(seconds)
        self._tidy()

    def next_end_at(self) -> float | None:
        """Return when the next one runs out."""
        while self._ends:
            ends_at, name = self._ends[0]
            suspicion = self._running.get(name)
            if suspicion is not None and suspicion.ends_at == ends_at:
                return ends_at
            heapq.heappop(self._ends)
        return None

    def ended(self, now: float) -> list[str]:
        """Return the members whose suspicions ran out, the first in front; the suspicions still run."""
        next_at = self.next_end_at()
        if next_at is None or next_at > now:
            return []
        due = [(one.ends_at, name) for name, one in self._running.items() if one.ends_at <= now]
        return [name for _, name in sorted(due)]

    def _note_end(self, name: str, suspicion: Suspicion) -> None:
        if len(self._ends) > 2 * len(self._running) + MIN_ENDS_TO_TIDY:
            self._tidy()
        heapq.heappush(self._ends, (suspicion.ends_at, name))

    def _tidy(self) -> None:
        self._ends = [(one.ends_at, name) for name, one in self._running.items()]
        heapq.heapify(self._ends)
