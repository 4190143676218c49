"""What is known of the cluster and its story so far: written by the story, shown by a view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from spegel_gossip.demo.image import DemoImage

REGISTRY = "registry"
"""What the upstream registry is called wherever a source is named."""


PEERS = "peers"
"""Nodes that the mirror did not name: a manifest may come from its memory of several."""


def by_number(names: Iterable[str]) -> list[str]:
    """Return names of nodes in the order of their numbers: node-10 after node-9."""
    return sorted(names, key=lambda name: (len(name), name))


class StepState(Enum):
    """How far a step of the story is."""

    AHEAD = "ahead"
    TOLD = "told"
    """It is being told now."""

    HELD = "held"
    """All its claims did."""

    FAILED = "failed"


@dataclass(slots=True)
class Step:
    """One step of the story."""

    title: str
    state: StepState = StepState.AHEAD
    begun_at: float = 0.0
    seconds: float = 0.0
    claims: list[str] = field(default_factory=list)
    """What was checked and found true, in words."""


@dataclass(slots=True)
class BlobPicture:
    """One blob at one node."""

    here: int = 0
    is_whole: bool = False
    by_source: dict[str, int] = field(default_factory=dict)

    @property
    def main_source(self) -> str:
        """Who sent most of it; empty before the first byte."""
        return max(self.by_source, key=lambda source: self.by_source[source], default="")


@dataclass(slots=True)
class NodePicture:
    """One node, as the others see it and as its own pull tells."""

    name: str
    state: str = "starting"
    seen_by: int = 0
    """How many of the living nodes say that state."""

    share: float = 0.0
    """Of the ring, 0 to 1; the first owner's."""

    is_killed: bool = False
    is_pulling: bool = False
    blobs: dict[str, BlobPicture] = field(default_factory=dict)
    advertised: frozenset[str] = frozenset()
    """Digests of the layers that the directory says are here."""

    def blob(self, digest: str) -> BlobPicture:
        """Return the picture of a blob, begun now if there is none."""
        return self.blobs.setdefault(digest, BlobPicture())


@dataclass(slots=True)
class Picture:
    """Everything that can be shown."""

    steps: Sequence[Step] = ()
    nodes: dict[str, NodePicture] = field(default_factory=dict)
    image: DemoImage | None = None
    living: int = 0
    """How many nodes run."""

    registry_state: str = "starting"

    def moved(self, *, from_registry: bool) -> int:
        """Return how many bytes the pulls took from the registry, or from other nodes."""
        return sum(
            count
            for node in self.nodes.values()
            for blob in node.blobs.values()
            for source, count in blob.by_source.items()
            if (source == REGISTRY) is from_registry
        )

    def seconds(self, now: float) -> float:
        """Return how long the story has been told."""
        begun = [step.begun_at for step in self.steps if step.state is not StepState.AHEAD]
        return now - begun[0] if begun else 0.0
