"""One member as an owner: what it was told, whether that is all, and what it answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from spegel_gossip.directory.answers import Answerer
from spegel_gossip.directory.inquiry import view_of
from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.directory.messages import (
    MAX_HOLDERS_ANSWERED,
    AckStatus,
    Advertise,
    AskedFor,
    KeyAnswer,
    QuestionKey,
    Spreading,
)
from spegel_gossip.directory.purges import Purges
from spegel_gossip.directory.records import Record, RecordKind
from spegel_gossip.directory.ring_change import RingChange
from spegel_gossip.directory.roster import Roster
from spegel_gossip.directory.shard import Shard
from spegel_gossip.directory.youth import Youth
from spegel_gossip.swim.names import name_hash

DescribeSpread = Callable[[PackedKey, float], Spreading | None]
"""Says how a blob spreads now, if it does."""

NoteHolder = Callable[[PackedKey, str, float], None]
"""Takes in that the record of a member that has all of a key is here, perhaps not for the first time."""


class Owner:
    """The records of one member's part of the ring, and what may be concluded from them."""

    def __init__(self, roster: Roster, purges: Purges, *, rng: random.Random) -> None:
        self._roster = roster
        self._purges = purges
        self.shard = Shard(roster.name)
        self._answerer = Answerer(self.shard, rng=rng)
        self._youth = Youth(roster.name)
        self.describe_spread: DescribeSpread = lambda _key, _now: None
        """Asked for whoever wants a key explained: leases are not the directory's own affair."""
        self.note_holder: NoteHolder = lambda _key, _name, _now: None
        """Told of records that are taken in: who has a blob needs no source for it any more."""

    def member_alive(self, name: str, boot: int, zone: str, now: float, *, is_new_life: bool) -> None:
        """Name a member in answers, and wait for what it has to tell if this life of it is news."""
        self.shard.member_alive(name, boot, zone, now)
        if is_new_life and not self.shard.has_closed(name, boot):
            self._youth.member_joined(name, now)

    def member_gone(self, name: str, now: float) -> None:
        """Name a member in no answer from now on."""
        self.shard.member_gone(name, now)
        self._youth.member_gone(name)

    def ring_changed(self, change: RingChange, now: float) -> None:
        """Own by another ring from now on."""
        if change.before.zones:
            self._youth.ring_changed(change.before, change.after, now)
        self.shard.ring_changed(change.after, now, change)

    def advertised(self, sender: str, message: Advertise, now: float) -> AckStatus:
        """Take in what a holder says of itself."""
        status = self.shard.advertised(sender, message, now)
        for record in message.records:
            if record.kind == RecordKind.COMPLETE and self.shard.has_record(sender, record.key):
                self.note_holder(record.key, sender, now)
        if message.closing is not None and self._roster.boot_of(sender) in {None, message.boot}:
            self._youth.member_closed(sender, message.closing.epoch)
        return status

    def answer(
        self,
        asked: QuestionKey,
        purpose: int,
        asker: str,
        owners: Sequence[str],
        own: Record | None,
        now: float,
        unix_ms: int,
    ) -> KeyAnswer:
        """Return what is known of a key whose owners, by the ring here, are these.

        One that is asked although it is no owner (by a ring that differs, or as the owners
        are silent) names itself if it holds the key: `own` is its record of that.
        """
        answer = self._answerer.answer(
            asked.key,
            asker=asker,
            zone=self._roster.zones.get(asker, ""),
            is_young=self._youth.is_young(token_of(asked.key), now),
            has_same_view=self._roster.name in owners and view_of(owners) == asked.view,
            now=now,
            unix_ms=unix_ms,
            purged_at_ms=self._purges.purged_at_ms(asked.key, now),
            is_explained=purpose == AskedFor.EXPLAIN,
        )
        if purpose == AskedFor.EXPLAIN:
            answer = replace(answer, spreading=self.describe_spread(asked.key, now))
        if own is None or self._roster.name in owners:
            return answer
        if own.digest is not None and own.observed_at_ms < answer.observed_at_ms:
            return answer
        return replace(
            answer,
            holders=(name_hash(self._roster.name), *answer.holders[: MAX_HOLDERS_ANSWERED - 1]),
            size=own.size,
            digest=own.digest,
            observed_at_ms=own.observed_at_ms,
        )
