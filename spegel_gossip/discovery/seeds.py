"""All sources of seeds as one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import structlog
import trio

from spegel_gossip.discovery import metrics
from spegel_gossip.discovery.source import DiscoveryError, SeedSource
from spegel_gossip.swim.address import Address

log = structlog.get_logger(__name__)

FIRST_TIMEOUT = 2.0
"""Seconds for a source at first: one that hangs must not keep the others' seeds from being joined."""

LONGEST_TIMEOUT = 20.0
"""What the time for a source grows to, doubled each time that it ran out. A resolver whose first
server drops packets answers after 5 s (resolv.conf(5)), and after that much it is waited for."""


class Seeds:
    """Asks all sources at once. No failure is fatal: a node alone is a whole cluster."""

    def __init__(self, sources: Sequence[SeedSource]) -> None:
        self._sources = tuple(sources)
        self._failures: dict[str, str] = {}
        self._timeouts = dict.fromkeys((source.name for source in self._sources), FIRST_TIMEOUT)

    @property
    def failures(self) -> dict[str, str]:
        """What went wrong when last asked, by source."""
        return dict(self._failures)

    async def __call__(self, *, within: float = inf) -> Sequence[Address]:
        """Return what the sources know now, without repetition, in the order of the sources.

        Args:
            within: seconds after which those that have not answered are left out; it says
                nothing about them, for the patience with a source is its own
        """
        found: dict[str, Sequence[Address]] = {}
        with trio.move_on_after(within):
            async with trio.open_nursery() as nursery:
                for source in self._sources:
                    nursery.start_soon(self._ask, source, found)
        addresses = [one for source in self._sources for one in found.get(source.name, ())]
        unique = tuple(dict.fromkeys(addresses))
        metrics.SEEDS.set(len(unique))
        return unique

    async def _ask(self, source: SeedSource, found: dict[str, Sequence[Address]]) -> None:
        timeout = self._timeouts[source.name]
        problem = ""
        with trio.move_on_after(timeout) as scope:
            try:
                found[source.name] = await source.find()
            except DiscoveryError as exc:
                problem = str(exc)
        if scope.cancelled_caught:
            problem = f"no answer within {timeout:g} s"
            self._timeouts[source.name] = min(2 * timeout, LONGEST_TIMEOUT)
        if problem:
            metrics.FAILURES.inc()
        self._note(source.name, problem)

    def _note(self, name: str, problem: str) -> None:
        """Remember how it went; log a change, since seeds are looked for for as long as we run."""
        was_failing = name in self._failures
        if problem:
            self._failures[name] = problem
            if not was_failing:
                log.warning("seeds not found, trying again", source=name, problem=problem)
        elif was_failing:
            del self._failures[name]
            log.info("seeds found again", source=name)
