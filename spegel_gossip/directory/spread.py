"""One blob while it spreads: who fetches it, who receives it from whom, and who waits.

The owner's memory of it, without the rules: those are in `leases`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.directory.fetch_messages import FetchAsk
from spegel_gossip.directory.keys import PackedKey

STEP_BYTES: Final = 1 << 20
"""containerd writes a growing blob in steps of this size."""

REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports of a node that receives a blob (`swarm.receptions`)."""

MAX_RECEIVERS: Final = 4_096
"""Nodes remembered for one blob."""

MAX_DEPTH: Final = MAX_RECEIVERS
"""Nodes in a row looked at, where what was told in turns may have made a circle."""

GATHER_INTERVAL: Final = 0.1
"""Seconds for which those who ask are gathered, unless a byte comes first; only then could they read."""

MAX_FENCED: Final = 16
"""Tokens of lost leases remembered for one blob."""

FIRST_STEP_TIMEOUT: Final = 10.0
"""Seconds a lease has for its first step, while nothing else of its holder grows."""

MAX_SHARED_LINE: Final = 12
"""Blobs that are taken to share the line to upstream, at most: a bound on the patience."""

STEP_TIMEOUT: Final = 2.0
"""Seconds without a step, at least, after which a lease that had one is lost."""

STEP_FACTOR: Final = 4.0
"""As many of the longest recent step, where that is longer: a slow registry is not a lost lease."""

PAUSE: Final = 2.0
"""Seconds without growth after which a node grows anew: those who read from it give it up no sooner."""

SILENCE_TIMEOUT: Final = 3.0
"""Seconds without a report after which a lease holder is taken to be gone: six reports were due."""

COMMIT_TIMEOUT: Final = 60.0
"""Seconds for hashing and committing what has all its bytes."""

UNKNOWN_PARENT: Final = ""
"""Whom a node reads from that reads from somebody who is gone: bytes do not come that way."""

_STEP_GROWTH = 1.5
"""By how much one step raises the patience with the next, at most."""

_STEP_MEMORY = 0.5
"""How much of the longest step is left when a shorter one came: a start that was slow is forgotten."""


@dataclass(slots=True)
class Lease:
    """The leave to fetch from upstream, as its owner follows it."""

    token: int
    granted_at: float
    stepped_at: float
    """When it last grew; until its first step, when anything of its holder last grew."""
    heard_at: float
    has_stepped: bool = False
    longest_step: float = 0.0
    sharing: int = 1
    is_complete: bool = False

    def stepped(self, grown: int, now: float) -> None:
        """Take in that it grew by so many bytes.

        A report that tells of several steps, because those before it were lost, says how long each took. What
        came in one piece after reports of nothing new is one step, however large: upstream sends so.
        """
        began_at = self.stepped_at if self.has_stepped else self.granted_at
        reports = round((now - self.heard_at) / REPORT_INTERVAL)
        step = (now - began_at) / max(min(grown // STEP_BYTES, reports), 1)
        if self.has_stepped:
            # Else each step of a line that was throttled buys four times as long for the next.
            step = min(step, max(self.longest_step, REPORT_INTERVAL) * _STEP_GROWTH)
        self.longest_step = max(step, self.longest_step * _STEP_MEMORY)
        self.stepped_at, self.has_stepped = now, True

    @property
    def silent_at(self) -> float:
        """When it is lost if its holder says nothing more."""
        return self.heard_at + SILENCE_TIMEOUT

    @property
    def stalled_at(self) -> float:
        """When it is lost if it does not grow."""
        if self.is_complete:
            patience = COMMIT_TIMEOUT
        elif self.has_stepped:
            patience = max(STEP_TIMEOUT, STEP_FACTOR * self.longest_step)
        else:
            patience = FIRST_STEP_TIMEOUT * min(max(self.sharing, 1), MAX_SHARED_LINE)
        return self.stepped_at + patience


@dataclass(slots=True)
class Receiver:
    """A node with an open ingest of the blob."""

    name: str
    stamp: int
    heard_at: float
    rank: int = 0
    """Its place among those who would else be equal: another one for each blob."""
    asked_at: float = -math.inf
    burden: int = 0
    is_crowded: bool = False
    is_blind: bool = False
    """Nobody can read its copy before it is whole."""
    offset: int = 0
    total: int = 0
    together: int = 0
    """Bytes that it lacked of the image when it began; 0 if unknown."""
    lease: Lease | None = None
    has_lost: bool = False
    """It lost a lease, and may go on fetching, slowly: it is read from where there is nobody else."""
    parent: str | None = None
    depth: int = 0
    is_done: bool = False
    """It has it all and says so; its record as a holder is on its way."""
    failed: dict[str, float] = field(default_factory=dict)
    """Sources that failed it, and until when they are not named to it again."""
    busy: dict[int, float] = field(default_factory=dict)
    """Name hashes of sources that had no upload to spare for it, and until when that counts."""
    grown_until: float = 0.0
    """Until when it counts as growing by itself, wherever its bytes come from."""
    grew_at: float = -math.inf
    """When it was last heard to have grown."""
    grows_since: float = -math.inf
    """When it was first heard to have grown after its last pause."""
    is_urgent: bool = False
    extra: int = 0
    """Children that it may have beyond the usual, because its uplink was unused."""
    spare_since: float | None = None

    @property
    def order(self) -> tuple[bool, int, int, int]:
        """Its place in the line of those who wait: who is furthest can go on for all others."""
        return self.is_blind, -self.offset, self.burden, self.rank

    def asked(self, ask: FetchAsk, size: int, now: float) -> None:
        """Take in what it says of itself as it asks."""
        self.heard_at = self.asked_at = now
        if self.lease is not None:
            self.lease.heard_at = now
        self.is_urgent, self.is_done, self.has_lost = ask.is_urgent, False, False
        self.burden, self.is_crowded, self.is_blind = ask.burden, ask.is_crowded, ask.is_blind
        self.reached(ask.offset, now)
        self.total = ask.total or self.total or size
        self.together = ask.together

    def reached(self, offset: int, now: float) -> int:
        """Take in how far it is; return by how much it grew, less than nothing where it began anew."""
        grown = offset - self.offset
        self.offset = offset
        if grown > 0:
            if self.grew_at + PAUSE <= now:
                self.grows_since = now
            self.grew_at = now
        return grown

    def is_root(self, now: float) -> bool:
        """Return whether bytes come to it that come from no other receiver, as far as is known."""
        return self.is_done or self.lease is not None or (self.parent is None and self.grown_until > now)


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One lease, for whoever looks at it."""

    key: PackedKey
    holder: str
    offset: int
    total: int
    age: float
    receivers: int


@dataclass(slots=True)
class Spread:
    """All that an owner knows of one blob's spreading."""

    key: PackedKey
    receivers: dict[str, Receiver] = field(default_factory=dict)
    children: dict[str, dict[str, None]] = field(default_factory=dict)
    together: int = 0
    """The most that any asker lacked of the image, in bytes."""
    served: dict[str, int] = field(default_factory=dict)
    """How many were told to read from a node, since it was first named."""
    waiting: dict[str, int] = field(default_factory=dict)
    """The ids of questions that are not answered, by asker."""
    losses: int = 0
    """Leases in a row that were lost because no byte came."""
    failures: int = 0
    """Leases in a row whose holder's pull ended before a byte came."""
    paused_until: float = 0.0
    """Until when no lease is given, because the last ones failed at once."""
    refused_until: float = 0.0
    byteless_until: dict[str, float] = field(default_factory=dict)
    """Nodes whose lease was lost without a byte, and until when they get none."""
    fenced: dict[int, None] = field(default_factory=dict)
    last_stamp: int = 0
    was_leased: bool = False
    share_at: float = 0.0
    """Until when a burdened asker waits for one that has less to fetch; 0 before the first such."""
    gather_until: float = 0.0
    """Until when those who come are told to wait, so that not the first to come are the first in the tree."""
    has_gathered: bool = False
    last_asked: dict[str, float] = field(default_factory=dict)
    """The two members that asked last, and when."""
    is_crowd_known: bool = False

    def gather(self, now: float) -> None:
        """Let those who come after the first wait for each other, once: there is no byte to be had yet."""
        if not self.has_gathered:
            self.has_gathered, self.gather_until = True, now + GATHER_INTERVAL

    def is_gathering(self, receiver: Receiver, now: float) -> bool:
        """Return whether a node waits for its place; one that had a source, or a byte, does not."""
        is_new = not (receiver.offset or receiver.failed or receiver.is_urgent)
        return is_new and now < self.gather_until

    def serves(self) -> None:
        """Take in that bytes come from upstream: what failed before says nothing any more."""
        self.losses = self.failures = 0
        self.paused_until = 0.0

    def leases(self) -> list[Receiver]:
        """Return who has a lease."""
        return [one for one in self.receivers.values() if one.lease is not None]

    def lease_views(self, now: float) -> list[LeaseView]:
        """Return the leases, for whoever looks at them."""
        return [
            LeaseView(
                self.key, one.name, one.offset, one.total, now - one.lease.granted_at, len(self.receivers)
            )
            for one in self.receivers.values()
            if one.lease is not None
        ]

    def attach(self, child: Receiver, parent: str, depth: int) -> None:
        """Let a node read from another."""
        self.detach(child)
        child.parent, child.depth = parent, depth
        self.served[parent] = self.served.get(parent, 0) + 1
        self.children.setdefault(parent, {})[child.name] = None

    def detach(self, child: Receiver) -> None:
        """Let a node read from nobody."""
        if child.parent is not None:
            siblings = self.children.get(child.parent, {})
            siblings.pop(child.name, None)
            if not siblings:
                self.children.pop(child.parent, None)
            child.parent = None

    def idle(self, name: str) -> None:
        """Keep no place for a node that waits and reads no more; a lease given meanwhile is still its."""
        receiver = self.receivers.get(name)
        if receiver is not None and receiver.lease is None:
            self.waiting.pop(name, None)
            self.detach(receiver)
            receiver.grown_until = 0.0

    def rank_of(self, name: str) -> int:
        """Return a node's place among equals; 0 for one that never asked."""
        receiver = self.receivers.get(name)
        return 0 if receiver is None else receiver.rank

    def load(self, name: str) -> int:
        """Return how many nodes read from this one."""
        return len(self.children.get(name, ()))

    def cut_off_children(self, name: str) -> None:
        """Take in that a node is gone: no bytes reach by it those who read from it."""
        for child in self.children.pop(name, ()):
            self.receivers[child].parent = UNKNOWN_PARENT

    def drop(self, name: str) -> None:
        """Forget a node; those who read from it find out by themselves."""
        receiver = self.receivers.pop(name, None)
        self.waiting.pop(name, None)
        if receiver is not None:
            self.detach(receiver)
            self.children.pop(name, None)
            self.served.pop(name, None)

    def fence(self, token: int) -> None:
        """Believe a token no more."""
        self.fenced[token] = None
        if len(self.fenced) > MAX_FENCED:
            del self.fenced[next(iter(self.fenced))]

    def grows_by_unheard(self, receiver: Receiver, now: float) -> bool:
        """Return whether bytes reach a node from one that says nothing here yet, and will within a moment.

        An owner that was out of touch, or has not been one for long, hears of some before the others.
        """
        is_named = bool(receiver.parent) and receiver.parent not in self.receivers
        return is_named and receiver.grown_until > now

    def gets_bytes(self, name: str, *, without: str, holders: Collection[str], now: float) -> bool:
        """Return whether bytes reach a node by some way that does not lead through another."""
        for _ in range(MAX_DEPTH):
            if name == without:
                return False
            if name in holders:
                return True
            receiver = self.receivers.get(name)
            if receiver is None:
                return False
            if receiver.is_root(now):
                return True
            if receiver.parent is None:
                return False
            name = receiver.parent
        return False
