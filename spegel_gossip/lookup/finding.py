"""Answers to what this node asks: kept from a moment ago, from an owner, or from anybody in the end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.inquiry import Verdict, reading_order
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import AskedFor, KeyAnswer
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.ahead import batches
from spegel_gossip.lookup.asking import Verdicts
from spegel_gossip.lookup.cache import AnswerCache
from spegel_gossip.lookup.driver import Driver
from spegel_gossip.routing import Key, NoHolderError, OwnersUnreachableError, Purpose

MAX_STRANGERS_ASKED: Final = 16
"""Members asked for what they have themselves, when no owner of a key answers."""

_PURPOSES = {Purpose.READ: AskedFor.READ, Purpose.FETCH: AskedFor.FETCH}


_LOOKUPS = {
    (kind, verdict): metrics.LOOKUPS.labels(kind, verdict.value)
    for kind in ("digest", "tag")
    for verdict in Verdict
}
_LOOKUP_SECONDS = {verdict: metrics.LOOKUP_SECONDS.labels(verdict.value) for verdict in Verdict}


class Finder:
    """Asks for keys, one at a time or many ahead."""

    def __init__(self, directory: Directory, driver: Driver, *, rng: random.Random) -> None:
        self._directory = directory
        self._driver = driver
        self._asker = driver.asker
        self._rng = rng
        self._cache = AnswerCache()

    async def find(self, key: Key, purpose: Purpose, kind: str) -> KeyAnswer:
        """Return what is known of a key.

        Any of the three owners will do, this node first where it is one, as no lease comes of it: those
        have questions of their own (`fetches`), for the first owner alone.

        Raises:
            NoHolderError: the owners said nobody.
            OwnersUnreachableError: nobody could be asked.
        """
        packed = pack_key(key)
        started_at = trio.current_time()
        cached = self._cache.get(packed, started_at)
        if purpose is Purpose.FETCH:
            # A kept answer serves one GET: a second within the second means that its holders failed.
            self._cache.drop(packed)
        if cached is not None:
            metrics.LOOKUPS.labels(kind, "cached").inc()
            return cached
        order = reading_order(self._directory.live_owners(packed), self._directory.name)
        verdicts = await self._asker.inquire((packed,), order, _PURPOSES[purpose])
        if purpose is Purpose.READ:
            self._remember(verdicts)
        answer, verdict = verdicts[packed]
        if verdict is Verdict.UNREACHABLE:
            anybody = await self._asker.ask_any(packed, self._strangers(packed))
            if anybody is not None:
                answer, verdict = anybody, Verdict.FOUND
        _LOOKUPS[kind, verdict].inc()
        _LOOKUP_SECONDS[verdict].observe(trio.current_time() - started_at)
        match verdict:
            case Verdict.FOUND:
                return answer
            case Verdict.NOBODY:
                raise NoHolderError(key)
            case Verdict.UNREACHABLE:
                raise OwnersUnreachableError(key)

    def find_ahead(self, keys: Sequence[Key]) -> None:
        """Look keys up in batches, in the background."""
        now = trio.current_time()
        wanted = [
            key
            for key in dict.fromkeys(map(pack_key, keys))
            if self._cache.get(key, now) is None and not self._directory.has_advertised(key)
        ]
        for batch in batches(self._directory, wanted):
            self._driver.do_later(partial(self._look_ahead, batch))

    def know(self, key: PackedKey, answer: KeyAnswer) -> None:
        """Keep what an answer about one key says of another."""
        self._cache.put(key, answer, trio.current_time())

    def forget(self, key: PackedKey) -> None:
        """Use an answer no more: it turned out wrong."""
        self._cache.drop(key)

    async def _look_ahead(self, keys: tuple[PackedKey, ...]) -> None:
        order = reading_order(sorted(self._directory.live_owners(keys[0])), self._directory.name)
        self._remember(await self._asker.inquire(keys, order, AskedFor.READ))

    def _strangers(self, key: PackedKey) -> list[str]:
        """Return some live members who are no owners: who has the key itself says so.

        Three owners that die at once leave nobody who knows, until membership finds out.
        """
        known = {self._directory.name, *self._directory.owners(key)}
        others = sorted(name for name in self._directory.members if name not in known)
        return self._rng.sample(others, min(MAX_STRANGERS_ASKED, len(others)))

    def _remember(self, verdicts: Verdicts) -> None:
        now = trio.current_time()
        for key, (answer, verdict) in verdicts.items():
            if verdict is Verdict.FOUND:
                self._cache.put(key, answer, now)
