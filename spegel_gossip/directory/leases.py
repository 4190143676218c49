"""Who fetches a blob from upstream, and who reads it from whom: the owner's rules.

A cold blob is fetched once. The first node that asks gets the lease, all others are told
whose growing copy to read, so that the cluster is a tree that begins at the registry. An
owner never sends anybody upstream while bytes of the blob are to be had: it says to wait,
keeps the question, and answers it the moment it can. A lease is kept by progress, not by
its holder's being alive.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from spegel_gossip.directory.complaints import Complaint, heed
from spegel_gossip.directory.fetch_messages import (
    MAX_SOURCES_TOLD,
    FetchAsk,
    FetchTold,
    Progress,
    ProgressItem,
    ProgressState,
    Verdict,
)
from spegel_gossip.directory.granting import CROWD_INTERVAL, Grants
from spegel_gossip.directory.keys import PackedKey, token_of
from spegel_gossip.directory.parents import Candidate, Known, allow_for_uplink, choose_source
from spegel_gossip.directory.spread import MAX_RECEIVERS, UNKNOWN_PARENT, LeaseView, Receiver, Spread
from spegel_gossip.swim.names import name_hash

RECEIVER_TIMEOUT: Final = 5.0
"""Seconds without a word after which a node counts as receiving no more."""

WAIT_TIMEOUT: Final = 1.5
"""Seconds after which a question that was not repeated is answered no more; askers repeat every 0.5 s."""

DONE_INTERVAL: Final = 10.0
"""Seconds for which a node that says it has it all is named by its word: then its record is there."""

BUSY_INTERVAL: Final = 1.0
"""Seconds for which a source without an upload to spare is named only to who cannot wait."""

GROWING_INTERVAL: Final = 3.0
"""Seconds for which a node that grew counts as growing, whoever it gets the bytes from."""

LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks whether a lease is lost."""

LARGE_BYTES: Final = 64 << 10
"""From this size on a blob that some have is spread by the tree too, or one uplink serves all. Sixty layers
of 1.7 MB to 99 nodes of 400 Mbit/s, simulated: 6.5 s instead of 281; of 100 kB: 0.6 s instead of 12."""

ANSWERS_AT_ONCE: Final = 64
"""Waiting questions answered in one turn; a thousand would hold the loop."""

LOOKED_AT_ONCE: Final = 16
"""Waiting questions looked at whenever somebody grows: in a herd of 500 that is a thousand times a second."""

LOOK_COST: Final = 0.001
"""Seconds until the next look for each that waits, where there are more: with 167 of 500 it takes 31 ms."""

NEXT_TURN: Final = 0.005
"""Seconds until the turn after that."""

UNASKED: Final = 0
"""The id of what is told without a question."""

MAX_SPREADS: Final = 4_096
"""Blobs followed at once; the one not heard of for longest is forgotten first."""


class Leases:
    """The spreads that one member looks after as an owner."""

    def __init__(
        self,
        known: Callable[[PackedKey, str], Known],
        zones: Mapping[str, str],
        first_token: int,
        name_of: Callable[[int], str | None],
    ) -> None:
        """Start with none.

        Args:
            known: what the directory knows of a key, for an asker
            zones: the live members' zones; a live view
            first_token: tokens count up from here; of a later boot they must be others
            name_of: the live member whose name has a hash
        """
        self._name_of = name_of
        self._known = known
        self._zones = zones
        self._spreads: OrderedDict[PackedKey, Spread] = OrderedDict()
        self._look_at = 0.0
        self._outbox: list[tuple[str, FetchTold]] = []
        self._turns: dict[PackedKey, float] = {}
        """When to answer those who wait for a blob, where that is before the next look."""
        self._uplinks: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        """What happened: `granted`, `attached`, `lost_stalled`, `lost_silent`, `lost_ended`, `refused`."""
        self._grants = Grants(first_token, self.counts)

    # -- asked --------------------------------------------------------------------------------

    def ask(
        self,
        asker: str,
        ask: FetchAsk,
        failed: tuple[str, ...],
        stalled: tuple[Complaint, ...],
        now: float,
        unix_ms: int,
    ) -> FetchTold:
        """Answer an asker; after WAIT the same question may be answered again through `told`."""
        known = self._known(ask.key, asker)
        spread = self._spreads.get(ask.key)
        if spread is None:
            if known.holders and max(known.size, ask.total) < LARGE_BYTES:
                return self._read(ask.id, known, failed)
            spread = self._open(ask.key)
        self._spreads.move_to_end(ask.key)
        if asker not in spread.receivers and len(spread.receivers) >= MAX_RECEIVERS:
            self.counts["refused"] += 1
            return self._read(ask.id, known, failed) if known.holders else FetchTold(ask.id, Verdict.REFUSED)
        receiver = self._receiver(spread, asker, now, unix_ms)
        receiver.asked(ask, known.size, now)
        spread.together = max(spread.together, ask.together)
        is_crowded = self._note_asker(spread, asker, now)
        if spread.waiting.pop(asker, None) != ask.id:  # else it repeats what it said at first
            receiver.busy = dict.fromkeys(ask.busy, now + BUSY_INTERVAL)
        spread.detach(receiver)
        heed(spread, receiver, failed, stalled, known.holders, now)
        # Who came later than a minute ago cannot know the former owner, and asks one owner after the other.
        may_grant = ask.must_decide or known.is_former or (known.is_first and not known.is_young)
        told = self._decide(
            spread, receiver, ask.id, known, now, may_grant=may_grant, gives_way=ask.gives_way
        )
        if told is None and not may_grant:
            told = FetchTold(ask.id, Verdict.YOUNG)
        if told is None:
            if not ask.gives_way:
                spread.waiting[asker] = ask.id
                self._take_turn(spread, now)
            told = FetchTold(ask.id, Verdict.WAIT)
        return replace(told, is_crowded=True) if is_crowded else told

    def _note_asker(self, spread: Spread, asker: str, now: float) -> bool:
        """Return whether another member asked a moment ago; tell who fetches it already, once."""
        others = [
            name for name, at in spread.last_asked.items() if name != asker and at + CROWD_INTERVAL > now
        ]
        spread.last_asked.pop(asker, None)
        spread.last_asked[asker] = now
        if len(spread.last_asked) > 2:
            del spread.last_asked[next(iter(spread.last_asked))]
        if others and not spread.is_crowd_known:
            spread.is_crowd_known = True
            self._outbox += [
                (one.name, FetchTold(UNASKED, Verdict.LEASE, token=one.lease.token, is_crowded=True))
                for one in spread.receivers.values()
                if one.lease is not None and one.name != asker
            ]
        return bool(others)

    def _decide(
        self,
        spread: Spread,
        receiver: Receiver,
        id_: int,
        known: Known,
        now: float,
        *,
        may_grant: bool,
        gives_way: bool = False,
    ) -> FetchTold | None:
        size = max(known.size, receiver.total)
        if known.holders and size < LARGE_BYTES:
            return self._read(id_, known, tuple(receiver.failed))
        if receiver.lease is not None:
            # Its fetch broke off and containerd begins at the top of its hosts again.
            return FetchTold(id_, Verdict.LEASE, token=receiver.lease.token)
        if may_grant and spread.is_gathering(receiver, now):
            return None
        source = choose_source(spread, receiver, known, size, self._zones, self._uplinks, now)
        if source is not None and gives_way:
            return FetchTold(id_, Verdict.WAIT)
        if source is not None:
            return self._attach(spread, receiver, id_, source, known, size, now)
        if spread.refused_until > now:
            return self._grants.refuse(id_)
        return self._grants.decide(spread, receiver, id_, now) if may_grant else None

    def _read(self, id_: int, known: Known, failed: tuple[str, ...]) -> FetchTold:
        names = [name for name in known.holders if name not in failed] or list(known.holders)
        hashes = tuple(name_hash(name) for name in names[:MAX_SOURCES_TOLD])
        return FetchTold(id_, Verdict.READ, hashes, size=known.size)

    # -- who reads from whom ------------------------------------------------------------------

    def _attach(
        self,
        spread: Spread,
        receiver: Receiver,
        id_: int,
        source: Candidate,
        known: Known,
        size: int,
        now: float,
    ) -> FetchTold:
        spread.gather(now)
        spread.attach(receiver, source.name, source.depth + 1 if source.depth else 1)
        self.counts["attached"] += 1
        # What a stamp is for is an order, and a child stands behind its parent in it.
        receiver.stamp = spread.last_stamp = spread.last_stamp + 1
        is_whole = source.name in known.holders
        return FetchTold(
            id_,
            Verdict.READ if is_whole else Verdict.ATTACH,
            (name_hash(source.name),),
            size=size,
            stamp=receiver.stamp,
            depth=0 if is_whole else receiver.depth,
        )

    # -- progress -----------------------------------------------------------------------------

    def progress(self, sender: str, report: Progress, now: float, unix_ms: int) -> None:
        """Take in how far a node's ingests are."""
        for item in report.items:
            spread = self._spreads.get(item.key)
            if spread is None:
                if item.state != ProgressState.ARRIVING:
                    continue
                spread = self._open(item.key)
            self._spreads.move_to_end(item.key)
            self._item(spread, sender, report, item, now, unix_ms)
            if len(spread.waiting) <= LOOKED_AT_ONCE:
                self._answer_waiting(spread, now)
            else:
                self._take_turn(spread, now, now + len(spread.waiting) * LOOK_COST)

    def _item(
        self, spread: Spread, sender: str, report: Progress, item: ProgressItem, now: float, unix_ms: int
    ) -> None:
        if item.state == ProgressState.ENDED:
            self._ended(spread, sender, now, has_failed=True)
            return
        if item.state == ProgressState.IDLE:
            spread.idle(sender)
            return
        if sender not in spread.receivers and len(spread.receivers) >= MAX_RECEIVERS:
            return
        receiver = self._receiver(spread, sender, now, unix_ms)
        receiver.heard_at = now
        grown = receiver.reached(item.offset, now)
        receiver.total = item.total or receiver.total
        if grown > 0:
            receiver.grown_until = now + GROWING_INTERVAL
            spread.gather_until = 0.0
        if item.parent and receiver.parent is None and not (item.token or receiver.is_done):
            # Told by another owner; without it a circle could be closed here.
            parent = self._name_of(item.parent) or UNKNOWN_PARENT
            spread.attach(receiver, parent, receiver.depth)
        if item.state == ProgressState.DONE:
            self._done(spread, receiver)
        elif item.token and item.token not in spread.fenced:
            self._grants.progress(spread, receiver, report, item, grown=grown, now=now)
        if report.uplink:
            self._uplinks[sender] = report.uplink
        allow_for_uplink(spread, receiver, self._zones, self._uplinks, has_spare=report.has_spare, now=now)

    def noted_holder(self, key: PackedKey, name: str, now: float) -> None:
        """Take in that the directory has a member's record of a blob, which says more than its DONE would."""
        spread = self._spreads.get(key)
        if spread is None:
            return
        if (receiver := spread.receivers.get(name)) is not None and not receiver.is_done:
            receiver.heard_at = now
            receiver.reached(max(receiver.offset, receiver.total), now)
            self._done(spread, receiver)
        self._answer_waiting(spread, now)

    def _done(self, spread: Spread, receiver: Receiver) -> None:
        spread.gather_until = 0.0
        spread.detach(receiver)
        spread.waiting.pop(receiver.name, None)
        receiver.lease, receiver.has_lost, receiver.is_done, receiver.depth = None, False, True, 1
        spread.serves()

    def _ended(self, spread: Spread, name: str, now: float, *, has_failed: bool) -> None:
        receiver = spread.receivers.get(name)
        if receiver is not None and receiver.lease is not None:
            self._grants.lose(spread, receiver, "lost_ended", now, has_failed=has_failed)
        if receiver is not None or not has_failed:
            # Who had it all and is gone is no receiver, as a rule.
            spread.cut_off_children(name)
        spread.drop(name)

    # -- time ---------------------------------------------------------------------------------

    def member_gone(self, name: str, now: float) -> None:
        """Take in that a member is dead or left."""
        self._uplinks.pop(name, None)
        for spread in list(self._spreads.values()):
            self._ended(spread, name, now, has_failed=False)
            self._answer_waiting(spread, now)

    def next_timer_at(self) -> float | None:
        """Return when to look next whether something is lost or can be forgotten."""
        if not self._spreads and not self._turns:
            return None
        return min([self._look_at, *self._turns.values()])

    def handle_timer(self, now: float) -> None:
        """Do all that was due by `now`."""
        for key in [key for key, at in self._turns.items() if at <= now]:
            del self._turns[key]
            if key in self._spreads:
                self._answer_waiting(self._spreads[key], now)
        if now < self._look_at:
            return
        self._look_at = now + LOOK_INTERVAL
        for spread in list(self._spreads.values()):
            for receiver in spread.leases():
                self._grants.lose_if_due(spread, receiver, now)
            for receiver in [one for one in spread.receivers.values() if _ends_at(one) <= now]:
                spread.drop(receiver.name)
            spread.byteless_until = {
                name: until for name, until in spread.byteless_until.items() if until > now
            }
            if spread.key not in self._turns:
                self._answer_waiting(spread, now)
            if not spread.receivers and not spread.byteless_until and spread.refused_until <= now:
                del self._spreads[spread.key]

    def told(self) -> list[tuple[str, FetchTold]]:
        """Drain the answers to questions that waited, with whom each is for."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def views(self, now: float) -> list[LeaseView]:
        """Return the leases that are held now."""
        return [view for spread in self._spreads.values() for view in spread.lease_views(now)]

    def spread_of(self, key: PackedKey) -> Spread | None:
        """Return what is known of one blob's spreading; to be read."""
        return self._spreads.get(key)

    def waiting(self) -> int:
        """Return how many questions wait for an answer."""
        return sum(len(spread.waiting) for spread in self._spreads.values())

    def _take_turn(self, spread: Spread, now: float, *times: float) -> None:
        """See to it that those who wait for others to come first are answered when that time is over."""
        known = (spread.gather_until, spread.share_at, spread.paused_until, *times)
        waits_until = [at for at in known if at > now]
        if waits_until:
            self._turns[spread.key] = min(*waits_until, self._turns.get(spread.key, waits_until[0]))

    def _answer_waiting(self, spread: Spread, now: float) -> None:
        answered = 0
        # By what they have, burden and rank, and not as they came: who is first with one layer is with all.
        for name in sorted(spread.waiting, key=lambda name: spread.receivers[name].order):
            receiver, id_ = spread.receivers[name], spread.waiting[name]
            if receiver.heard_at + WAIT_TIMEOUT <= now:
                del spread.waiting[name]
                continue
            told = self._decide(spread, receiver, id_, self._known(spread.key, name), now, may_grant=True)
            if told is not None:
                del spread.waiting[name]
                self._outbox.append((name, told))
                answered += 1
            if answered == ANSWERS_AT_ONCE:
                self._turns[spread.key] = now + NEXT_TURN
                return
        if spread.waiting:
            self._take_turn(spread, now)

    def _open(self, key: PackedKey) -> Spread:
        spread = self._spreads[key] = Spread(key)
        while len(self._spreads) > MAX_SPREADS:
            self._spreads.popitem(last=False)
        return spread

    def _receiver(self, spread: Spread, name: str, now: float, unix_ms: int) -> Receiver:
        receiver = spread.receivers.get(name)
        if receiver is None:
            # By the clock, so that what two owners say can be compared; one after the other, where it stands.
            spread.last_stamp = max(spread.last_stamp + 1, unix_ms)
            rank = name_hash(name) ^ token_of(spread.key)
            receiver = spread.receivers[name] = Receiver(name, spread.last_stamp, now, rank)
        return receiver


def _ends_at(receiver: Receiver) -> float:
    if receiver.lease is not None:
        return receiver.lease.heard_at + 2 * RECEIVER_TIMEOUT
    return receiver.heard_at + (DONE_INTERVAL if receiver.is_done else RECEIVER_TIMEOUT)
