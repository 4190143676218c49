"""What a pull or a push has moved so far, from where, and what is left for the next time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from spegel_gossip.cli.output import human_bytes
from spegel_gossip.client.progress import Outcome, Role
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest


@dataclass(slots=True)
class BlobTally:
    """One blob."""

    blob: Descriptor
    role: Role
    resumed_at: int = 0
    here: int = 0
    """Bytes of it that are where they should go."""

    moved: int = 0
    """Bytes that went over the network for it; more than its size if some went twice."""

    source: str = ""
    outcome: Outcome | None = None
    """None while it is on its way."""


class View(Protocol):
    """Shows a tally while it grows."""

    def update(self, tally: BlobTally) -> None:
        """Something changed for one blob."""

    def note(self, text: str) -> None:
        """Something went otherwise than hoped for, and is being dealt with."""


class Tally:
    """Counts what a client tells it (a `client.progress.Progress`), and passes it on to a view."""

    def __init__(self, view: View, clock: Callable[[], float]) -> None:
        """Start at nothing; `clock` counts seconds."""
        self._view = view
        self._clock = clock
        self._begun_at = clock()
        self.blobs: dict[Digest, BlobTally] = {}
        self.by_source: dict[str, int] = {}

    def begin(self, blob: Descriptor, role: Role, *, offset: int) -> None:
        """A blob is about to move."""
        self._view.update(self._get(blob, role, resumed_at=offset))

    def move(self, digest: Digest, count: int, source: str) -> None:
        """Bytes of it went over the network."""
        self.by_source[source] = self.by_source.get(source, 0) + count
        if (tally := self.blobs.get(digest)) is not None:
            tally.here += count
            tally.moved += count
            tally.source = source
            self._view.update(tally)

    def restart(self, digest: Digest) -> None:
        """It starts at its first byte again."""
        if (tally := self.blobs.get(digest)) is not None:
            tally.here = tally.resumed_at = 0
            self._view.update(tally)

    def end(self, blob: Descriptor, role: Role, outcome: Outcome) -> None:
        """It is where it should be."""
        tally = self._get(blob, role)
        tally.outcome = outcome
        tally.here = blob.size
        self._view.update(tally)

    def wait(self, reason: str, delay: float) -> None:
        """Something failed and is tried again."""
        self._view.note(f"{reason}; the next attempt is in {delay:.1f} s")

    def pass_over(self, host: str, reason: str) -> None:
        """A mirror failed."""
        self._view.note(f"the mirror {host} is passed over: {reason}")

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._clock() - self._begun_at

    @property
    def moved(self) -> int:
        """Bytes that went over the network in all."""
        return sum(self.by_source.values())

    @property
    def unfinished(self) -> int:
        """Bytes of blobs that are begun and not whole."""
        return sum(tally.here for tally in self.blobs.values() if tally.outcome is None)

    def count(self, outcome: Outcome) -> int:
        """Return how many blobs ended so."""
        return sum(tally.outcome is outcome for tally in self.blobs.values())

    def summary(self, preposition: str) -> str:
        """Return one line: bytes, seconds, from where or to where."""
        rate = self.moved / max(self.seconds, 0.001)
        parts = [f"{human_bytes(self.moved)} in {self.seconds:.1f} s ({human_bytes(int(rate))}/s)"]
        parts += [f"{human_bytes(count)} {preposition} {source}" for source, count in self.by_source.items()]
        resumed = sum(tally.resumed_at for tally in self.blobs.values())
        if resumed:
            parts.append(f"{human_bytes(resumed)} from an earlier run")
        for outcome, words in ((Outcome.HELD, "already there"), (Outcome.MOUNTED, "mounted")):
            if self.count(outcome):
                parts.append(f"{self.count(outcome)} of {len(self.blobs)} blobs {words}")
        return ", ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for a program; keys are only ever added."""
        return {
            "bytes": self.moved,
            "seconds": round(self.seconds, 3),
            "sources": self.by_source,
            "blobs": [
                {
                    "digest": str(tally.blob.digest),
                    "size": tally.blob.size,
                    "media_type": tally.blob.media_type,
                    "role": tally.role.value,
                    "outcome": None if tally.outcome is None else tally.outcome.value,
                    "bytes": tally.moved,
                    "resumed_at": tally.resumed_at,
                    "source": tally.source,
                }
                for tally in self.blobs.values()
            ],
        }

    def _get(self, blob: Descriptor, role: Role, *, resumed_at: int = 0) -> BlobTally:
        tally = self.blobs.get(blob.digest)
        if tally is None:
            tally = self.blobs[blob.digest] = BlobTally(blob, role, resumed_at, here=resumed_at)
        return tally
