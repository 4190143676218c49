"""What is held, as far as is known, and the events that say how it came to be so."""

from __future__ import annotations

from collections import deque

import trio

from spegel_gossip.content import (
    Availability,
    AvailabilityChanged,
    BlobAdded,
    BlobRemoved,
    ContentEvent,
    Emit,
    PartialChanged,
    PartialLeft,
    PartialRemoved,
    PartialStatus,
    TagChanged,
    TagRemoved,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores import metrics

EMIT_BURST = 64
"""Events passed on before the other tasks get a turn: a first listing brings tens of thousands."""


class Inventory:
    """Blobs, tags, partials and the store's availability.

    Changed synchronously by whoever learns something; every change that is one is
    queued as an event at the same moment, so the queue replays the inventory. The
    queue holds no more than was changed since `run_emitter` last looked.
    """

    def __init__(self, availability: Availability) -> None:
        self.blobs: dict[Digest, int] = {}
        self.tags: dict[TagName, TagChanged] = {}
        self.partials: dict[Digest, PartialStatus] = {}
        self.availability = availability
        self._news: deque[ContentEvent] = deque([AvailabilityChanged(availability)])
        self._woken = trio.Event()

    def add_blob(self, digest: Digest, size: int) -> bool:
        """Record a held blob; return whether it was news."""
        if self.blobs.get(digest) == size:
            return False
        metrics.BLOB_BYTES.inc(size - self.blobs.get(digest, 0))
        self.blobs[digest] = size
        metrics.BLOBS.set(len(self.blobs))
        self._tell(BlobAdded(digest, size))
        return True

    def remove_blob(self, digest: Digest) -> bool:
        """Record that a blob is gone; return whether it was news."""
        size = self.blobs.pop(digest, None)
        if size is None:
            return False
        metrics.BLOB_BYTES.dec(size)
        metrics.BLOBS.set(len(self.blobs))
        self._tell(BlobRemoved(digest))
        return True

    def set_tag(self, tag: TagChanged) -> None:
        """Record that a tag names something, and that all of it is here."""
        if self.tags.get(tag.name) != tag:
            self.tags[tag.name] = tag
            metrics.TAGS.set(len(self.tags))
            self._tell(tag)

    def remove_tag(self, name: TagName) -> None:
        """Record that a tag does not resolve here."""
        if self.tags.pop(name, None) is not None:
            metrics.TAGS.set(len(self.tags))
            self._tell(TagRemoved(name))

    def set_partial(self, digest: Digest, status: PartialStatus | None) -> None:
        """Record how far a blob has come; None: nothing of it arrives any more."""
        if status is not None:
            if self.partials.get(digest) == status:
                return
            self.partials[digest] = status
            self._tell(PartialChanged(digest, status))
        elif self.partials.pop(digest, None) is not None:
            self._tell(PartialRemoved(digest))
        metrics.PARTIALS.set(len(self.partials))

    def leave_partial(self, digest: Digest) -> None:
        """Tell that nobody writes to an ingest any more; what of it is here stays."""
        self._tell(PartialLeft(digest))

    def set_availability(self, availability: Availability) -> None:
        """Record whether the store can be used."""
        metrics.CONNECTED.set(availability.is_connected)
        if self.availability != availability:
            self.availability = availability
            self._tell(AvailabilityChanged(availability))

    async def run_emitter(self, emit: Emit) -> None:
        """Pass every event on, in order, until cancelled."""
        passed = 0
        while True:
            while self._news:
                await emit(self._news.popleft())
                passed += 1
                if passed % EMIT_BURST == 0:
                    await trio.lowlevel.checkpoint()
            self._woken = trio.Event()
            await self._woken.wait()

    def _tell(self, event: ContentEvent) -> None:
        self._news.append(event)
        self._woken.set()
