"""What this member believes of the others, and what it says of itself.

Every claim passes through here, from gossip, from push-pull and from our own probes,
and there is one rule for all: `supersedes`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from spegel_gossip.swim import codec
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim, supersedes
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.conflicts import Conflicts
from spegel_gossip.swim.dissemination import DisseminationQueue
from spegel_gossip.swim.events import (
    BootRaised,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MembershipEvent,
    MemberSuspected,
    MemberUpdated,
    NameConflicted,
)
from spegel_gossip.swim.introspection import NameConflict, SwimCounters
from spegel_gossip.swim.local_health import LocalHealth
from spegel_gossip.swim.member import Member, MemberRecord, MemberState
from spegel_gossip.swim.member_order import MemberOrder
from spegel_gossip.swim.members import Entry, MemberTable
from spegel_gossip.swim.outbox import Datagram, Outbox
from spegel_gossip.swim.suspicion import Suspicions

REAP_INTERVAL = 60.0
"""Seconds between two looks for tombstones that may be dropped."""


class View:
    """The membership table with the timers of its suspicions."""

    def __init__(
        self, record: MemberRecord, config: SwimConfig, rng: random.Random, outbox: Outbox,
        counters: SwimCounters,
    ) -> None:  # fmt: skip
        self._config = config
        self._outbox = outbox
        self._counters = counters
        self.suspicions = Suspicions(config)
        self._conflicts = Conflicts()
        self._reap_at: float | None = None
        self.name = record.name
        own = Claim(record, record.boot, MemberState.ALIVE)
        self.table = MemberTable(own, max_members=config.max_members)
        self.probe_order = MemberOrder(self.table.is_live_other, rng=rng)
        self.gossip_order = MemberOrder(self.table.is_live_other, rng=rng)
        self.queue = DisseminationQueue(max_claim_bytes=config.max_datagram_bytes)
        self.health = LocalHealth(max_multiplier=config.max_local_health)
        self.own: Entry = self.table.own

    @property
    def conflicts(self) -> tuple[NameConflict, ...]:
        """Other processes that live under our name, as far as we heard."""
        return self._conflicts.shown()

    def hear(self, claim: Claim, now: float) -> Claim | None:
        """Take in a claim that came with a datagram; return what its sender should hear in turn.

        Who accuses an incarnation that was left behind, or one that has left, missed a
        claim, by the e^-m that every gossip leaves out, and would go on to declare a
        death. Deaths are no answer: they might kill one who is about to refute
        (departure 3).
        """
        held = self.table.get(claim.name)
        if held is not None and supersedes(held.member, claim):
            is_accusation = claim.state in {MemberState.SUSPECT, MemberState.DEAD}
            return held.claim(now) if is_accusation and held.state is not MemberState.DEAD else None
        self._hear(claim, now, spread=True)
        return None

    def hear_push_pull(self, claim: Claim, peer: str, now: float, *, spread: bool) -> None:
        """Take in one claim of a peer's table.

        Args:
            claim: what the peer holds
            peer: its name
            now: monotonic seconds
            spread: whether others hear of it from us; who knew nobody learns everybody
                by push-pull, and need not tell them to each other
        """
        self._hear(self._softened(claim, peer), now, spread=spread)

    def suspect(self, name: str, now: float) -> None:
        """Suspect a member, because a probe of ours failed."""
        entry = self.table.get(name)
        if entry is None or not entry.member.is_live:
            return
        accusation = replace(entry.claim(now), state=MemberState.SUSPECT, accuser=self.name)
        self._hear(accusation, now, spread=True)

    def leave(self, now: float) -> None:
        """Say that we go."""
        self._speak(replace(self.own.claim(now), state=MemberState.LEFT), now)

    def change_record(self, record: MemberRecord, now: float) -> None:
        """Say something new about ourselves, at a higher incarnation; the boot stays as it is."""
        claim = self.own.claim(now)
        record = replace(record, boot=claim.record.boot)
        self._speak(replace(claim, record=record, incarnation=claim.incarnation + 1), now)

    def introduce(self, now: float) -> None:
        """Say what we are, to whom it may concern."""
        self._disseminate(self.own, now)

    def postpone(self, seconds: float) -> None:
        """Move all suspicions: this member was not running, so nothing could be refuted to it."""
        self.suspicions.postpone(seconds)

    def next_timer_at(self) -> float | None:
        """Return when the next suspicion runs out, tombstones are looked at or a conflict is forgotten."""
        times = (self.suspicions.next_end_at(), self._reap_at, self._conflicts.next_timer_at())
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Declare dead whose suspicion ran out, and drop old tombstones and conflicts."""
        self._conflicts.handle_timer(now)
        for name in self.suspicions.ended(now):
            self._counters.deaths_declared += 1
            death = replace(self.table[name].claim(now), state=MemberState.DEAD, accuser=self.name)
            self._hear(death, now, spread=True)
        if self._reap_at is not None and self._reap_at <= now:
            for entry in self.table.ex_members:
                if now - entry.since_at >= self._config.tombstone_drop_age:
                    self.table.remove(entry.name)
            self._reap_at = now + REAP_INTERVAL if self.table.has_ex_members else None

    def _softened(self, claim: Claim, peer: str) -> Claim:
        """Turn a death told by push-pull into a suspicion (departure 3).

        Two halves that declared each other dead must not, on meeting, talk each
        other's living off the ring.
        """
        if claim.state is MemberState.DEAD and self.table.is_live_other(claim.name):
            return replace(claim, state=MemberState.SUSPECT, accuser=peer, age=0.0)
        return claim

    def _hear(self, claim: Claim, now: float, *, spread: bool) -> None:
        if claim.name == self.name:
            self._hear_of_ourselves(claim, now)
            return
        entry = self.table.get(claim.name)
        if entry is None:
            accepted = claim.age < self._config.tombstone_silent_age
        else:
            accepted = supersedes(claim, entry.member)
            if not accepted and _same_suspicion(claim, entry.member):
                accepted = spread = self._confirm(claim)
        if accepted:
            accepted_entry = self._accept(claim, entry, now)
            if accepted_entry is not None and spread:
                self._disseminate(accepted_entry, now)

    def _disseminate(self, entry: Entry, now: float) -> None:
        self.queue.add(entry.name, codec.encode_packed_claim(entry.packed, entry.age(now)))

    def _accept(self, claim: Claim, entry: Entry | None, now: float) -> Entry | None:
        """Make the table say so; return the entry, None if there is no room for it."""
        old = None if entry is None else entry.member
        was_alone = self.table.n == 1
        if entry is None and not self._make_room():
            self._counters.members_refused += 1
            return None
        entry = self.table.put(claim, now)
        self._counters.claims_accepted += 1
        self._time_suspicion(claim, old, now)
        for event in _events(old, entry.member, claim.accuser):
            self._outbox.tell(event)
        if entry.member.is_live:
            self.probe_order.insert(claim.name)
            self.gossip_order.insert(claim.name)
            if was_alone:
                self.introduce(now)
        elif self._reap_at is None:
            self._reap_at = now + REAP_INTERVAL
        return entry

    def _make_room(self) -> bool:
        """Forget the ex-member that is gone longest, if the table is full; return whether there is room."""
        if not self.table.is_full:
            return True
        oldest = min(self.table.ex_members, key=lambda entry: entry.since_at, default=None)
        if oldest is None:
            return False
        self.table.remove(oldest.name)
        self.queue.discard(oldest.name)
        return True

    def _time_suspicion(self, claim: Claim, old: Member | None, now: float) -> None:
        if claim.state is not MemberState.SUSPECT:
            self.suspicions.end(claim.name)
        elif claim.name not in self.suspicions or old is None or old.incarnation != claim.incarnation:
            self._counters.suspicions += 1
            self.suspicions.begin(claim.name, accuser=claim.accuser, n=self.table.n, now=now)

    def _confirm(self, claim: Claim) -> bool:
        """Count an independent suspicion; each that counts is passed on (Lifeguard, IV-B)."""
        if not self.suspicions.confirm(claim.name, claim.accuser):
            return False
        self._counters.confirmations += 1
        return True

    def _hear_of_ourselves(self, claim: Claim, now: float) -> None:
        if not supersedes(claim, self.own.member):
            return
        mine = self.own.claim(now)
        is_foreign = claim.record.boot != mine.record.boot
        is_elsewhere = not set(claim.record.addresses) & set(mine.record.addresses)
        if is_foreign and is_elsewhere and claim.state in {MemberState.ALIVE, MemberState.SUSPECT}:
            # Departure 2: shown, never fought over. Once nobody lives there, it is ours.
            self._report_conflict(claim.record, now)
            address = claim.record.addresses[0]
            self._outbox.send(Datagram(codec.encode_packed_claim(self.own.packed, 0.0), address, self.name))
            return
        self._conflicts.ended(claim.record.addresses[0])
        incarnation = max(claim.incarnation, mine.incarnation) + 1
        boot = max(mine.record.boot, claim.record.boot + 1) if is_foreign else mine.record.boot
        if incarnation >= INCARNATION_LIMIT or boot >= INCARNATION_LIMIT:
            return  # a forgery that nobody can deny: every peer would refuse the number
        self._counters.refutations += 1
        if not is_foreign:
            self.health.change(1)
        if boot != mine.record.boot:
            self._outbox.tell(BootRaised(boot))
        self._speak(replace(mine, record=replace(mine.record, boot=boot), incarnation=incarnation), now)

    def hear_namesake(self, claim: Claim, now: float) -> None:
        """Take in what somebody who bears our own name says of itself.

        The older of two such processes hears of the newer from everybody; the newer
        hears of the older from it alone, for everybody else takes the older's claim
        for a former life of the newer.
        """
        mine = self.own.member.record
        is_elsewhere = not set(claim.record.addresses) & set(mine.addresses)
        if claim.name == mine.name and claim.record.boot != mine.boot and is_elsewhere:
            self._report_conflict(claim.record, now)

    def _report_conflict(self, record: MemberRecord, now: float) -> None:
        conflict = NameConflict(record.addresses[0], record.boot)
        if not self._conflicts.hear(conflict, now):
            return
        self._counters.name_conflicts += 1
        self._outbox.tell(NameConflicted(self.name, conflict.address, conflict.boot))

    def _speak(self, claim: Claim, now: float) -> None:
        self._disseminate(self.table.put(claim, now), now)


def _same_suspicion(claim: Claim, member: Member) -> bool:
    return (
        claim.state is MemberState.SUSPECT
        and member.state is MemberState.SUSPECT
        and claim.incarnation == member.incarnation
        and claim.record == member.record
    )


def _events(old: Member | None, new: Member, accuser: str) -> Iterator[MembershipEvent]:
    """Yield what a change of the table means to the program."""
    if not new.is_live:
        if old is not None and old.is_live:
            yield MemberLeft(new) if new.state is MemberState.LEFT else MemberDied(new)
        return
    continues = old is not None and old.is_live and old.record.boot == new.record.boot
    if old is None or not continues:
        yield MemberJoined(new)
    elif old.record != new.record:
        yield MemberUpdated(new)
    if new.state is MemberState.SUSPECT:
        if old is None or not continues or (old.state, old.incarnation) != (new.state, new.incarnation):
            yield MemberSuspected(new, accuser)
    elif continues and old is not None and old.state is MemberState.SUSPECT:
        yield MemberRefuted(new)
