"""Purges: an operator's word that whatever was observed of a tag before some moment counts no more.

Everybody keeps it for a day: holders withdraw what is older, owners do not answer with
it. Whoever was asked for the purge tells all members and repeats it until each has
acknowledged; the owners of the tag, three of them, do the same a little later, in case the
first dies half way, and tell whoever joins. A purge is a person's act, so that many packets
are cheap, and nobody else has to know who was told.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.backoff import backoff
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.messages import AckStatus, Purge, PurgeItem
from spegel_gossip.directory.timers import Timers

PURGE_INTERVAL: Final = 86_400.0
"""Seconds a purge is kept: longer than a node is away and comes back with what it held."""

MAX_PURGES: Final = 4_096
"""Purges kept; the one that ends first is forgotten first."""

MAX_CLOCK_LEAD_MS: Final = 300_000
"""How far in the future a purge may lie: it refuses what is observed until then. One that lies further
counts from now, for some clock is off, and what the operator wants forgotten is what is there now."""

ACK_TIMEOUT: Final = 0.5
MAX_RETRY_INTERVAL: Final = 60.0
STREAM_AFTER_FAILURES: Final = 2
SPREAD_PER_MEMBER: Final = 0.002
"""Seconds of spread for each member told: a thousand are told within two."""

OWNER_DELAY: Final = 2.0
"""Seconds after which an owner tells everybody too: by then all have heard it from the first."""

_ITEM_OVERHEAD: Final = 16
_MESSAGE_OVERHEAD: Final = 32


@dataclass(slots=True)
class _Debt:
    """What a member has not acknowledged."""

    pending: dict[PackedKey, None] = field(default_factory=dict)
    in_flight: tuple[int, tuple[PackedKey, ...]] | None = None
    failures: int = 0
    refused: dict[PackedKey, None] = field(default_factory=dict)
    """What it would not take; to tell it again would change nothing."""


@dataclass(frozen=True, slots=True)
class PurgeTelling:
    """A message for a member."""

    to: str
    message: Purge
    by_stream: bool


class Purges:
    """The purges that one member knows, and whom it still has to tell."""

    def __init__(self, *, max_datagram: int, rng: random.Random) -> None:
        self._max_bytes = max_datagram - _MESSAGE_OVERHEAD
        self._rng = rng
        # The moment purged, and when to forget it.
        self._known: dict[PackedKey, tuple[int, float]] = {}
        self._debts: dict[str, _Debt] = {}
        self._timers = Timers()
        self._news: list[PurgeItem] = []
        self.clock_lead_ms = 0
        """By how much this member's clock is ahead of the cluster's, by which all tell purges. What is
        observed here is by the clock here. The layer above compares the clocks."""

    def add(self, key: PackedKey, at_ms: int, now: float, unix_ms: int) -> bool:
        """Take a purge in; return whether it was news.

        Args:
            key: the tag's
            at_ms: when, by the cluster's clock
            now: monotonic seconds
            unix_ms: the time by this member's clock
        """
        unix_ms -= self.clock_lead_ms
        if at_ms > unix_ms + MAX_CLOCK_LEAD_MS:
            at_ms = unix_ms
        until = now + PURGE_INTERVAL - (unix_ms - at_ms) / 1000
        if until <= now or at_ms <= self.purged_at_ms(key, now):
            return False
        self._known[key] = (at_ms, until)
        if len(self._known) > MAX_PURGES:
            del self._known[min(self._known, key=lambda one: self._known[one][1])]
        self._news.append(PurgeItem(key, at_ms))
        return True

    def news(self) -> list[PurgeItem]:
        """Drain the purges that were news here, this member's own among them."""
        news, self._news = self._news, []
        return news

    def purged_at_ms(self, key: PackedKey, now: float) -> int:
        """Return up to when observations of a tag count no more; 0 if it was not purged."""
        at_ms, until = self._known.get(key, (0, now))
        return at_ms if until > now else 0

    def by_own_clock(self, at_ms: int) -> int:
        """Return what this member's clock said, or would have, at a purge's time."""
        return at_ms + self.clock_lead_ms

    def covers(self, key: PackedKey, observed_at_ms: int, now: float) -> bool:
        """Return whether what this member observed of a tag then was purged."""
        at_ms = self.purged_at_ms(key, now)
        return at_ms > 0 and observed_at_ms <= self.by_own_clock(at_ms)

    def known(self, now: float) -> dict[PackedKey, int]:
        """Return what is purged, and up to when."""
        for key in [key for key, (_, until) in self._known.items() if until <= now]:
            del self._known[key]
        return {key: at_ms for key, (at_ms, _) in self._known.items()}

    def owe(self, members: Iterable[str], keys: Iterable[PackedKey], now: float, *, delay: float) -> None:
        """Have members told, after a delay and spread over a moment if they are many."""
        names, owed = list(members), dict.fromkeys(keys)
        for name in names if owed else ():
            debt = self._debts.setdefault(name, _Debt())
            debt.pending.update(owed)
            for key in owed:
                debt.refused.pop(key, None)
            pause = self._rng.uniform(0.0, SPREAD_PER_MEMBER * len(names))
            self._timers.set_earlier(name, now + delay + pause)

    def owed(self, key: PackedKey) -> int:
        """Return how many members have not acknowledged a purge, or refused it."""
        return sum(
            key in debt.pending
            or key in debt.refused
            or (debt.in_flight is not None and key in debt.in_flight[1])
            for debt in self._debts.values()
        )

    def member_gone(self, name: str) -> None:
        """Tell a member nothing more."""
        self._debts.pop(name, None)
        self._timers.clear(name)

    def acknowledged(self, name: str, id_: int, status: int, now: float) -> bool:
        """Take in what a member made of what it was told; return whether this was about a purge."""
        debt = self._debts.get(name)
        if debt is None or debt.in_flight is None or debt.in_flight[0] != id_:
            return False
        if status == AckStatus.REFUSED:
            debt.refused.update(dict.fromkeys(debt.in_flight[1]))
        debt.in_flight, debt.failures = None, 0
        self._timers.clear(name)
        if debt.pending:
            self._timers.set(name, now)
        else:
            self._settled(name, debt, now)
        return True

    def failed(self, name: str, id_: int, now: float) -> bool:
        """Take in that a message did not arrive; return whether this was about a purge."""
        debt = self._debts.get(name)
        if debt is None or debt.in_flight is None or debt.in_flight[0] != id_:
            return False
        debt.pending.update(dict.fromkeys(debt.in_flight[1]))
        debt.in_flight = None
        debt.failures += 1
        pause = backoff(debt.failures, first=ACK_TIMEOUT, longest=MAX_RETRY_INTERVAL)
        self._timers.set(name, now + pause * self._rng.uniform(0.8, 1.2))
        return True

    def next_timer_at(self) -> float | None:
        """Return when somebody is to be told, or has been silent for too long."""
        return self._timers.next_at()

    def handle_timer(self, now: float, next_id: int) -> list[PurgeTelling]:
        """Return what is to be told now; ids count on from `next_id`."""
        tellings: list[PurgeTelling] = []
        for name in self._timers.due(now):
            debt = self._debts[name]
            if debt.in_flight is not None:
                self.failed(name, debt.in_flight[0], now)
                continue
            items = self._take_off(debt, now)
            if not items:
                self._settled(name, debt, now)
                continue
            id_ = next_id + len(tellings)
            debt.in_flight = (id_, tuple(item.key for item in items))
            by_stream = debt.failures >= STREAM_AFTER_FAILURES
            self._timers.set(name, now + (ACK_TIMEOUT * 40 if by_stream else ACK_TIMEOUT))
            tellings.append(PurgeTelling(name, Purge(id_, items), by_stream))
        return tellings

    def _settled(self, name: str, debt: _Debt, now: float) -> None:
        """Owe a member nothing more; what it refused is remembered for as long as the purge is in force."""
        debt.refused = {key: None for key in debt.refused if self.purged_at_ms(key, now)}
        if not debt.refused:
            del self._debts[name]

    def _take_off(self, debt: _Debt, now: float) -> tuple[PurgeItem, ...]:
        items: list[PurgeItem] = []
        size = 0
        for key in list(debt.pending):
            at_ms = self.purged_at_ms(key, now)
            size += len(key) + _ITEM_OVERHEAD
            if at_ms and items and size > self._max_bytes:
                break
            del debt.pending[key]
            if at_ms:
                items.append(PurgeItem(key, at_ms))
        return tuple(items)
