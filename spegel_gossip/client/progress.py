"""What a pull or a push tells while it runs."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest


class Role(Enum):
    """What a blob is in its image; with the digest it is what its ingest is called, as containerd does."""

    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"


class Outcome(Enum):
    """How it ended for one blob that did not fail."""

    MOVED = "moved"
    """It was transferred, all or what was missing of it."""

    HELD = "held"
    """It was where it should go already."""

    MOUNTED = "mounted"
    """The registry took it from another of its repositories."""


class Progress(Protocol):
    """Hears what happens; called from one task at a time, and never waits."""

    def begin(self, blob: Descriptor, role: Role, *, offset: int) -> None:
        """A blob is about to move; its first `offset` bytes did so in an earlier run."""

    def move(self, digest: Digest, count: int, source: str) -> None:
        """`count` more bytes of it went over the network; `source` is who sent or took them."""

    def restart(self, digest: Digest) -> None:
        """What there was of it is of no use: it starts at its first byte again."""

    def end(self, blob: Descriptor, role: Role, outcome: Outcome) -> None:
        """A blob is where it should be; one that is held or mounted had no beginning."""

    def wait(self, reason: str, delay: float) -> None:
        """Something failed; it is tried again in `delay` seconds."""

    def pass_over(self, host: str, reason: str) -> None:
        """A mirror failed; the next source is asked instead."""
