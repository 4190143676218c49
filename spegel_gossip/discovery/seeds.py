"""All sources of seeds as one."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from spegel_gossip.discovery import metrics
from spegel_gossip.discovery.source import DiscoveryError, SeedSource
from spegel_gossip.swim.address import Address

log = structlog.get_logger(__name__)

FIND_TIMEOUT = 10.0
"""Seconds for each source; a resolver that drops packets takes 5 s a try and server."""


class Seeds:
    """Asks all sources at once. No failure is fatal: a node alone is a whole cluster."""

    def __init__(self, sources: Sequence[SeedSource]) -> None:
        self._sources = tuple(sources)
        self._failures: dict[str, str] = {}

    @property
    def failures(self) -> dict[str, str]:
        """What went wrong when last asked, by source."""
        return dict(self._failures)

    async def __call__(self) -> Sequence[Address]:
        """Return what the sources know now, without repetition, in the order of the sources."""
        found: dict[str, Sequence[Address]] = {}
        async with trio.open_nursery() as nursery:
            for source in self._sources:
                nursery.start_soon(self._ask, source, found)
        addresses = [one for source in self._sources for one in found.get(source.name, ())]
        unique = tuple(dict.fromkeys(addresses))
        metrics.SEEDS.set(len(unique))
        return unique

    async def _ask(self, source: SeedSource, found: dict[str, Sequence[Address]]) -> None:
        problem = f"no answer within {FIND_TIMEOUT:g} s"
        with trio.move_on_after(FIND_TIMEOUT):
            try:
                found[source.name] = await source.find()
                problem = ""
            except DiscoveryError as exc:
                problem = str(exc)
        if problem:
            metrics.FAILURES.inc()
        # Once per change: seeds are looked for every minute for as long as we run.
        if problem != self._failures.get(source.name, ""):
            if problem:
                log.warning("seeds not found, trying again", source=source.name, problem=problem)
            else:
                log.info("seeds found again", source=source.name)
        if problem:
            self._failures[source.name] = problem
        else:
            self._failures.pop(source.name, None)
