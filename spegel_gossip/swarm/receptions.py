"""The blobs that arrive at this node: by which lease, how far, and what the owners must hear of it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from spegel_gossip.oci.digest import Digest

REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports of all that arrives."""

LAST_WORDS: Final = 2
"""Reports in which an end is told, or that nobody sends a blob, since one may be lost."""

CROWD_MEMORY: Final = 2.0
"""Seconds for which it counts that others were seen to pull the same image."""

MAX_LEASES_BEHIND: Final = 1
"""Leases that may wait for a slot behind requests for what others fetch; with more of them, a crowd waits.

Those who are told to read what is fetched here hold their slots for it. Simulated on 8 and 30 nodes with 4 to
60 layers, asked for in containerd's order and in any: never worse than no bound, and up to a third faster.
"""

LATE_INTERVAL: Final = 1.0
"""Seconds for which bytes of a request that ended may still come in: they were under way."""

SLOT_PATIENCE: Final = 1.0
"""Seconds without a byte after which a lease is taken to stand in line behind whole copies.

A node that joins in a roll-out lacks the layers below, which others hold, too: they have all its slots, and
whoever lacks the new layer alone waits for what this node was told to fetch.
"""

SLOT_MARGIN: Final = 0.05
"""Seconds from our 404 until containerd has its upstream request in line for a slot, on a busy machine."""

IDLE_TIMEOUT: Final = 60.0
"""Seconds without growth, request or lease after which nothing more is reported of an ingest."""

MAX_RECEPTIONS: Final = 512
"""Blobs followed at once; containerd fetches a few at a time, and forgets none of its ingests."""


class ReceptionState(Enum):
    """How it stands with a blob."""

    ARRIVING = "arriving"
    IDLE = "idle"
    """Its request ended, and nobody sends it: containerd may ask again."""
    DONE = "done"
    ENDED = "ended"


@dataclass(slots=True)
class Reception:
    """One blob that arrives here."""

    digest: Digest
    offset: int
    total: int
    touched_at: float
    token: int = 0
    leased_at: float = 0.0
    left_at: float = -math.inf
    stamp: int = 0
    begun_at: int = 0
    """Bytes that were here when its present source was named."""
    parent: str = ""
    """The node that it is read from; empty for none."""
    decider: str = ""
    """The owner who named it, which may be another than those whom the ring makes owners now."""
    state: ReceptionState = ReceptionState.ARRIVING
    last_words: int = LAST_WORDS
    """How often its end, or that nobody sends it, is still to be told."""
    is_news: bool = False
    """Whether its owners are to hear of it at once."""

    @property
    def is_open(self) -> bool:
        """Whether it is an ingest of which more may come."""
        return self.state in {ReceptionState.ARRIVING, ReceptionState.IDLE}

    @property
    def is_byteless(self) -> bool:
        """Whether nothing came of it since its source was named."""
        return self.is_open and self.offset == self.begun_at

    def arrives(self) -> None:
        """Count it among what comes here, whatever was said of it."""
        self.state, self.last_words = ReceptionState.ARRIVING, LAST_WORDS

    @property
    def is_fetched(self) -> bool:
        """Whether it comes from upstream."""
        return bool(self.token) and self.state is ReceptionState.ARRIVING

    @property
    def is_byteless_lease(self) -> bool:
        """Whether its upstream request may still wait for a slot."""
        return bool(self.token) and self.is_byteless


@dataclass(frozen=True, slots=True)
class Report:
    """What the owners are to be told now."""

    sharing: int
    """Blobs that share this node's line to upstream: fetched here, or without a byte yet."""
    is_growing: bool
    receptions: tuple[Reception, ...]


class Receptions:
    """All blobs that arrive here and whose owners were asked about them."""

    def __init__(self) -> None:
        self._receptions: OrderedDict[Digest, Reception] = OrderedDict()
        self._round_at = 0.0
        self._has_grown = False
        self._grown_at = 0.0
        self._crowded_until = 0.0
        self._line_passed_at = -math.inf
        self._opened_at = -math.inf
        """When a slot was last freed for a lease, by an answer that ended in its middle."""

        self._opens_after = SLOT_PATIENCE
        """Seconds until the next: twice as many each time that it did not help, as with a slow registry."""

    def asked(self, digest: Digest, *, offset: int, total: int, now: float) -> None:
        """Follow a blob from now on: its owner was asked for a source."""
        reception = self._receptions.get(digest)
        if reception is None or not reception.is_open:
            reception = self._receptions[digest] = Reception(digest, offset, total, now, begun_at=offset)
            while len(self._receptions) > MAX_RECEPTIONS:
                self._receptions.popitem(last=False)
        self._receptions.move_to_end(digest)
        reception.arrives()
        reception.touched_at = now
        reception.offset, reception.total = max(offset, reception.offset), total or reception.total

    def leased(self, digest: Digest, token: int, decider: str = "", *, now: float) -> None:
        """Take in that this node fetches a blob from upstream from now on, and who said so."""
        reception = self._coming(digest)
        if reception is not None:
            reception.arrives()
            reception.token, reception.decider, reception.begun_at = token, decider, reception.offset
            reception.leased_at, reception.parent = now, ""
            reception.is_news = True

    def attached(self, digest: Digest, stamp: int, decider: str = "", parent: str = "") -> None:
        """Take in that this node reads a blob from another one, and who said so."""
        reception = self._coming(digest)
        if reception is not None:
            reception.arrives()
            reception.token, reception.stamp, reception.decider = 0, stamp, decider
            reception.parent = parent

    def left(self, digest: Digest, now: float) -> None:
        """Take in that a blob's request ended before the blob did; what upstream sends comes all the same."""
        reception = self._receptions.get(digest)
        if reception is not None and reception.is_open and not reception.token:
            reception.state, reception.parent, reception.left_at = ReceptionState.IDLE, "", now
            reception.is_news, reception.last_words = True, LAST_WORDS

    def is_given_up(self, digest: Digest, offset: int) -> bool:
        """Return whether nobody need wait for more of a blob than so many bytes.

        Its pull has ended, or its request gave a slot back before its first byte and comes again.
        """
        reception = self._receptions.get(digest)
        state = None if reception is None else reception.state
        return state is ReceptionState.ENDED or (state is ReceptionState.IDLE and not offset)

    def crowded(self, now: float) -> None:
        """Take in that others pull what this node pulls."""
        self._crowded_until = now + CROWD_MEMORY

    def is_crowded(self, now: float) -> bool:
        """Return whether others pulled what this node pulls, a moment ago."""
        return now < self._crowded_until

    def changed(self, digest: Digest, *, offset: int, total: int, now: float) -> None:
        """Take in how far an ingest is."""
        reception = self._coming(digest)
        if reception is None:
            return
        if offset > reception.offset:
            if reception.offset == 0 or offset >= total > 0 or reception.state is ReceptionState.ENDED:
                reception.is_news = True
            if now >= reception.left_at + LATE_INTERVAL:
                reception.arrives()
            reception.touched_at = now
            self._has_grown, self._grown_at = True, now
        reception.offset, reception.total = offset, total or reception.total

    def ended(self, digest: Digest, *, is_done: bool) -> None:
        """Take in that a blob is held, or that its ingest is gone without that."""
        reception = self._receptions.get(digest)
        if reception is None or not reception.is_open:
            return
        reception.state = ReceptionState.DONE if is_done else ReceptionState.ENDED
        if is_done:
            reception.offset = reception.total = max(reception.offset, reception.total)
        reception.is_news, reception.last_words = True, LAST_WORDS

    def _coming(self, digest: Digest) -> Reception | None:
        """Return a blob of which more may come.

        That its writer closed it may be heard of after the next pull has begun to go on with it.
        """
        reception = self._receptions.get(digest)
        return None if reception is None or reception.state is ReceptionState.DONE else reception

    def place_of(self, digest: Digest) -> tuple[int, int]:
        """Return how many bytes of a blob are here, and this node's stamp among its receivers."""
        reception = self._receptions.get(digest)
        return (0, 0) if reception is None else (reception.offset, reception.stamp)

    def slot_came_back(self, given_at: float) -> None:
        """Take in that a request is here again which gave its slot back then.

        The line for slots is served in order, so whatever stood in it has had its slot: a lease that is older
        does not wait for one, though no step came yet. So it is too where slots are not shared.
        """
        self._line_passed_at = max(self._line_passed_at, given_at - SLOT_MARGIN)

    def waiting_leases(self, *, but: Digest | None = None) -> int:
        """Return how many leases here may wait for a slot, since they have no byte, one blob's left out."""
        return sum(one.digest != but for one in self._in_line())

    def _in_line(self) -> Iterator[Reception]:
        for one in self._receptions.values():
            if one.is_byteless_lease and one.leased_at > self._line_passed_at:
                yield one

    def want_slots(self, *, but: Digest, now: float) -> bool:
        """Return whether more leases here may wait for a slot, and others for them, than should.

        Once a slot was freed for one, whatever is in line before it gives way in its turn.
        """
        asked = self._receptions.get(but)
        if asked is not None and asked.is_fetched:
            return False
        if now < self._opened_at + SLOT_PATIENCE:
            return self.waiting_leases(but=but) > 0
        return self.is_crowded(now) and self.waiting_leases(but=but) > MAX_LEASES_BEHIND

    def open_line(self, now: float) -> bool:
        """Return whether an answer from a whole copy is to end in its middle, for a lease that waits long.

        It is said to one in a while: one slot is enough, since who is in line before the lease gives way.
        """
        leased_at = min((one.leased_at for one in self._in_line()), default=math.inf)
        if leased_at > self._opened_at:
            self._opens_after = SLOT_PATIENCE
        if now < leased_at + SLOT_PATIENCE or now < self._opened_at + self._opens_after:
            return False
        self._opens_after *= 2 if leased_at <= self._opened_at else 1
        self._opened_at = now
        return True

    def leases(self) -> list[Reception]:
        """Return what is fetched from upstream here."""
        return [one for one in self._receptions.values() if one.is_fetched]

    def next_report_at(self) -> float | None:
        """Return when the owners are to be told, in the past for at once; None while nothing arrives."""
        if not any(one.last_words for one in self._receptions.values()):
            return None
        return 0.0 if any(one.is_news for one in self._receptions.values()) else self._round_at

    def report(self, now: float) -> Report | None:
        """Return what is to be told by `now`, if anything is: all, or between two rounds the news alone."""
        everything = tuple(self._receptions.values())
        is_round = now >= self._round_at
        told = tuple(one for one in everything if one.is_news or (is_round and one.last_words))
        if not told:
            return None
        # Not only our leases: what we wait for is fetched by others over the same line. And not only what has
        # no byte yet: a lease whose request waits for a slot gets it when those that have the slots are done.
        sharing = sum(one.is_byteless or one.is_fetched for one in everything)
        report = Report(sharing, self._has_grown, told)
        if is_round:
            self._round_at = now + REPORT_INTERVAL
            self._has_grown = False
        for one in told:
            one.is_news = False
            if one.state is not ReceptionState.ARRIVING:
                one.last_words -= 1
        for one in everything if is_round else told:
            # A lease whose upstream request waits for a slot lives as long as what has the slots gets on.
            touched_at = max(one.touched_at, self._grown_at) if one.is_byteless_lease else one.touched_at
            # One that ended is remembered for those who read what is here of it, and would wait for more.
            is_over = one.state is ReceptionState.DONE and not one.last_words
            if is_over or touched_at + IDLE_TIMEOUT <= now:
                del self._receptions[one.digest]
        return report
