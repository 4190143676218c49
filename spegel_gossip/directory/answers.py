"""What an owner says of a key it is asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from spegel_gossip.directory.keys import PackedKey, is_tag
from spegel_gossip.directory.messages import (
    MAX_HOLDERS_ANSWERED,
    MAX_NAMING_HOLDERS,
    MAX_NAMINGS,
    KeyAnswer,
    Naming,
)
from spegel_gossip.directory.records import Record, RecordKind
from spegel_gossip.directory.shard import Holder, Shard
from spegel_gossip.swim.names import name_hash

MAX_CLOCK_LEAD_MS: Final = 300_000
"""How far in the future an observation may lie before its clock is taken to be wrong."""

Found = Sequence[tuple[Holder, Record]]
Named = Sequence[tuple[Holder, Record, PackedKey]]


class Answerer:
    """Reads a shard for those who ask."""

    def __init__(self, shard: Shard, *, rng: random.Random) -> None:
        self._shard = shard
        self._rng = rng

    def answer(
        self,
        key: PackedKey,
        *,
        asker: str,
        zone: str,
        is_young: bool,
        has_same_view: bool,
        now: float,
        unix_ms: int,
        purged_at_ms: int = 0,
        is_explained: bool = False,
    ) -> KeyAnswer:
        """Return what is known of one key.

        Args:
            key: what is asked for
            asker: who asks; never named as a holder
            zone: the asker's zone, whose holders go in front
            is_young: whether holders may exist that have not told us
            has_same_view: whether the asker sees the owners that we see
            now: for what is hidden
            unix_ms: for observations from the future
            purged_at_ms: up to when observations of the tag count no more
            is_explained: whether to tell, too, what nobody needs who only wants the bytes
        """
        found: Found = list(self._shard.live_records(key, now))
        digest, observed_at_ms = None, 0
        namings: tuple[Naming, ...] = ()
        if is_tag(key):
            named = _credible(found, unix_ms, purged_at_ms)
            namings = _namings(named) if is_explained else ()
            digest, observed_at_ms, found = _newest(named)
        found = [(holder, record) for holder, record in found if holder.name != asker]
        complete = [pair for pair in found if pair[1].kind == RecordKind.COMPLETE]
        partial = [pair for pair in found if pair[1].kind == RecordKind.PARTIAL]
        return KeyAnswer(
            is_young=is_young,
            has_same_view=has_same_view,
            holders=self._named(complete, zone),
            partials=self._named(partial, zone),
            size=max((record.size for _, record in found), default=0),
            digest=digest,
            observed_at_ms=observed_at_ms,
            namings=namings,
            hidden=self._hidden(key, now) if is_explained else (),
            purged_at_ms=purged_at_ms if is_explained else 0,
        )

    def _hidden(self, key: PackedKey, now: float) -> tuple[int, ...]:
        holders = self._shard.hidden_holders(key, now)
        return tuple(name_hash(holder.name) for holder in holders[:MAX_HOLDERS_ANSWERED])

    def _named(self, found: Found, zone: str) -> tuple[int, ...]:
        # Random within a zone, so that a thousand askers do not all go to the same 64.
        near = [holder.name for holder, _ in found if holder.zone == zone]
        far = [holder.name for holder, _ in found if holder.zone != zone]
        names = self._sample(near, MAX_HOLDERS_ANSWERED)
        names += self._sample(far, MAX_HOLDERS_ANSWERED - len(names))
        return tuple(name_hash(name) for name in names)

    def _sample(self, names: list[str], count: int) -> list[str]:
        return self._rng.sample(names, min(count, len(names)))


def _credible(found: Found, unix_ms: int, purged_at_ms: int) -> Named:
    """Return the records of a tag that may be believed: not from the future, and not purged."""
    return [
        (holder, record, record.digest)
        for holder, record in found
        if record.digest is not None
        and record.kind == RecordKind.COMPLETE
        and record.observed_at_ms <= unix_ms + MAX_CLOCK_LEAD_MS
        and (record.observed_at_ms > purged_at_ms or not purged_at_ms)
    ]


def _namings(named: Named) -> tuple[Naming, ...]:
    """Return all that a tag is said to name, newest first."""
    by_digest: dict[PackedKey, list[tuple[int, str]]] = {}
    for holder, record, digest in named:
        by_digest.setdefault(digest, []).append((record.observed_at_ms, holder.name))
    namings = [
        Naming(
            digest,
            max(said)[0],
            tuple(name_hash(name) for _, name in sorted(said, reverse=True)[:MAX_NAMING_HOLDERS]),
        )
        for digest, said in by_digest.items()
    ]
    namings.sort(key=lambda one: (-one.observed_at_ms, one.digest))
    return tuple(namings[:MAX_NAMINGS])


def _newest(named: Named) -> tuple[PackedKey | None, int, Found]:
    """Return what the newest observation says the tag names, when it was made, and who agrees.

    Where nobody knows when (0), the digest with most holders is the tag's; the
    smaller digest where they are as many, so that all owners say the same.
    """
    if not named:
        return None, 0, []
    observed_at_ms = max(record.observed_at_ms for _, record, _ in named)
    votes = Counter(digest for _, record, digest in named if record.observed_at_ms == observed_at_ms)
    newest = min(votes, key=lambda digest: (-votes[digest], digest))
    return newest, observed_at_ms, [(holder, record) for holder, record, digest in named if digest == newest]
