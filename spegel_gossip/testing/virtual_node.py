"""One node of a `virtual_swarm`: its links, its download slots, its fetches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.swarm.patience import Drip, Yields
from spegel_gossip.swarm.receptions import Receptions
from spegel_gossip.swarm.uplink import Uplink

SLOTS: Final = 3
"""Requests at once, as containerd has it."""

COMMIT_DELAY: Final = 0.02
"""Seconds that a commit takes."""

REGISTRY: Final = "registry"
"""What a fetch from upstream has for a source."""


@dataclass(slots=True)
class Link:
    """Sends one thing after the other, at a rate in bytes a second."""

    rate: float
    free_at: float = 0.0
    sent: int = 0

    def send(self, count: int, now: float) -> float:
        """Return when so many bytes are through."""
        self.free_at = max(self.free_at, now) + count / self.rate
        self.sent += count
        return self.free_at


@dataclass(slots=True)
class Fetch:
    """One blob at one node, from containerd's request to its commit."""

    blob: int
    offset: int = 0
    asked_at: float = 0.0
    """When containerd's present request began."""
    asked_with: int = 0
    """What it had then."""
    source: str = ""
    """Who sends: a node, or `registry`; empty while nobody does."""
    arrived_at: float = -1.0
    """When the last step came."""
    grown_at: float = 0.0
    """From when the patience with the source counts."""
    hold_timeout: float = 0.0
    """Seconds that the mirror holds its present request for a first byte."""
    drips_until: float = 0.0
    """Until when bytes of a step come from a node: to whoever waits for a byte it is not silent."""
    drip: Drip = field(default_factory=Drip)
    attached_at: float = 0.0
    attached_with: int = 0
    """When its present source was named, and what it had then."""
    looked_at: float = 0.0
    had: int = 0
    """What it had then."""
    patience: float = 0.0
    stamp: int = 0
    decider: str = ""
    """The owner who was asked last."""
    turn: int = 0
    """Rises with each change of the source, so that what an older one planned is not done."""
    requests: int = 0
    """Rises with each request of containerd's, so that what was planned for an older one is not done."""
    burden: int = 0
    has_slot: bool = False
    is_done: bool = False
    is_leased: bool = False
    """Its fetch from upstream was counted by an owner."""
    has_upstream_given: bool = False
    """Its present request to the registry brought bytes."""
    is_open: bool = False
    """A request to the mirror is open."""
    failed: list[str] = field(default_factory=list)
    stalled: list[Complaint] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    lapsed: set[str] = field(default_factory=set)
    """Sources that had nothing to give to its present request, once."""
    gives_way: bool = False
    """Its slot is wanted: it is leased, or gives the slot back."""

    @property
    def waits_since(self) -> float:
        """Since when its request has had no byte."""
        return max(self.asked_at, self.arrived_at)


class VirtualNode:
    """One node: its links, its slots, its fetches, and its parts of the product."""

    def __init__(self, name: str, rate: float) -> None:
        self.name = name
        self.uplink, self.downlink = Link(rate), Link(rate)
        self.meter = Uplink()
        self.is_alive = True
        self.side = ""
        """Nothing passes between nodes of different sides."""
        self.is_blind = False
        """Its content root cannot be read, so nobody can read its growing copies."""
        self.upstream_rate = float("inf")
        """What it gets from the registry at most; 0: nothing, and no error either."""
        self.commit_delay = COMMIT_DELAY
        self.fetches: dict[int, Fetch] = {}
        self.together = 0
        """Bytes that it lacked when it began to pull."""
        self.readers: dict[int, dict[str, None]] = {}
        """Who reads a growing copy of which blob here."""
        self.receptions = Receptions()
        self.yields = Yields()
        self.slots = SLOTS
        self.queue: deque[Callable[[], None]] = deque()
        self.tails: dict[int, list[Callable[[], None]]] = {}
        self.finished_at: float | None = None

    @property
    def partial_uploads(self) -> int:
        """How many read growing copies here."""
        return sum(map(len, self.readers.values()))
