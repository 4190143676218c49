"""A content store that lives in memory: what the rooms are tested with.

It passes the conformance tests of the port, as containerd's store does, so that a
test that uses it says something about the real one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import trio

from spegel_gossip.content import (
    Availability,
    AvailabilityChanged,
    BlobAdded,
    BlobRemoved,
    ContentEvent,
    ContentNotFoundError,
    ContentStoreUnavailableError,
    Emit,
    PartialChanged,
    PartialLeft,
    PartialRemoved,
    PartialStatus,
    TagChanged,
    TagRemoved,
)
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import Manifest, parse_manifest_untrusted
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.wholeness import wholeness


class MemoryStore:
    """Blobs, tags and ingests in memory, changed by the test that owns it."""

    def __init__(self, *, has_descriptors: bool = True) -> None:
        """Start empty and available.

        Args:
            has_descriptors: False makes blobs that can be had by `read_at` only, as
                where containerd's content root is not mounted
        """
        self._has_descriptors = has_descriptors
        self._data: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, int] = {}
        self._images: dict[TagName, TagChanged] = {}
        self._tags: dict[TagName, TagChanged] = {}
        self._ingests: dict[Digest, MemoryIngest] = {}
        self._partials: dict[Digest, PartialStatus] = {}
        self._availability = Availability(is_connected=True, is_readable=True)
        self._news: list[ContentEvent] = []
        self._woken = trio.Event()
        self._is_followed = False

    # What a test does to it.

    def add_blob(self, data: bytes) -> Digest:
        """Commit a blob and return its digest."""
        digest = Digest.of(data)
        self._commit(digest, data)
        return digest

    def remove_blob(self, digest: Digest) -> None:
        """Drop a blob, as a garbage collection does; readers that are open go on."""
        del self._data[digest]
        del self._blobs[digest]
        self._tell(BlobRemoved(digest))
        self._judge_tags()

    def tag(self, name: TagName, target: Descriptor, *, updated_at: float = 0.0) -> None:
        """Let a tag name a manifest; it shows once the whole image is here."""
        self._images[name] = TagChanged(name, target, updated_at)
        self._judge_tags()

    def untag(self, name: TagName) -> None:
        """Forget a tag."""
        del self._images[name]
        self._judge_tags()

    def begin_ingest(self, digest: Digest, *, total: int = 0) -> MemoryIngest:
        """Begin to receive a blob; `total` is 0 where the size is not known."""
        ingest = MemoryIngest(self, digest, total)
        self._ingests[digest] = ingest
        self._progress(ingest)
        return ingest

    def set_availability(self, availability: Availability) -> None:
        """Let the store go or come back."""
        self._availability = availability
        self._tell(AvailabilityChanged(availability))

    # The port.

    def availability(self) -> Availability:
        """Return whether the store can be used now."""
        return self._availability

    def blobs(self) -> Mapping[Digest, int]:
        """Return the held blobs with their sizes."""
        return self._blobs

    def tags(self) -> Mapping[TagName, TagChanged]:
        """Return the tags whose images are whole here."""
        return self._tags

    def partials(self) -> Mapping[Digest, PartialStatus]:
        """Return the open ingests."""
        return self._partials

    async def size(self, digest: Digest) -> int:
        """Return the size of a held blob in bytes."""
        await trio.lowlevel.checkpoint()
        return len(self._read(digest))

    async def open(self, digest: Digest) -> MemoryReader:
        """Open a held blob."""
        await trio.lowlevel.checkpoint()
        return MemoryReader(self._read(digest), has_descriptor=self._has_descriptors)

    async def open_partial(self, digest: Digest) -> MemoryPartial:
        """Open the ingest of a blob that is still arriving."""
        await trio.lowlevel.checkpoint()
        if digest not in self._ingests:
            raise ContentNotFoundError(digest)
        return MemoryPartial(self._ingests[digest])

    async def resolve(self, name: TagName) -> TagChanged:
        """Return what a tag names here, only while its whole image is here."""
        await trio.lowlevel.checkpoint()
        if name in self._tags:
            return self._tags[name]
        if not self._availability.is_connected:
            raise ContentStoreUnavailableError(self._availability.reason)
        raise ContentNotFoundError(name)

    async def run(self, emit: Emit) -> None:
        """Emit what is held, then every change, until cancelled."""
        self._news = [
            AvailabilityChanged(self._availability),
            *(BlobAdded(digest, size) for digest, size in self._blobs.items()),
            *self._tags.values(),
            *(PartialChanged(digest, status) for digest, status in self._partials.items()),
        ]
        self._is_followed = True
        try:
            while True:
                batch, self._news = self._news, []
                for event in batch:
                    await emit(event)
                if not self._news:
                    self._woken = trio.Event()
                    await self._woken.wait()
        finally:
            self._is_followed = False

    # How changes become events.

    def _read(self, digest: Digest) -> bytes:
        if digest in self._data and self._availability.is_readable:
            return self._data[digest]
        if self._availability.is_connected:
            raise ContentNotFoundError(digest)
        raise ContentStoreUnavailableError(self._availability.reason)

    def _commit(self, digest: Digest, data: bytes) -> None:
        self._data[digest] = data
        self._blobs[digest] = len(data)
        self._tell(BlobAdded(digest, len(data)))
        self._judge_tags()

    def _progress(self, ingest: MemoryIngest) -> None:
        self._partials[ingest.digest] = ingest.status
        self._tell(PartialChanged(ingest.digest, ingest.status))

    def _end_ingest(self, ingest: MemoryIngest) -> None:
        if self._ingests.get(ingest.digest) is ingest:
            del self._ingests[ingest.digest]
            del self._partials[ingest.digest]
            self._tell(PartialRemoved(ingest.digest))

    def _judge_tags(self) -> None:
        for name in self._tags.keys() - self._images.keys():
            del self._tags[name]
            self._tell(TagRemoved(name))
        for name, image in self._images.items():
            if not self._is_whole(image.target.digest):
                if self._tags.pop(name, None) is not None:
                    self._tell(TagRemoved(name))
            elif self._tags.get(name) != image:
                self._tags[name] = image
                self._tell(image)

    def _is_whole(self, root: Digest) -> bool:
        try:
            verdict = wholeness(root, is_held=self._data.__contains__, manifest=self._manifest)
        except InvalidManifestError:
            return False
        return verdict.is_whole

    def _manifest(self, digest: Digest) -> Manifest:
        return parse_manifest_untrusted(self._data[digest])

    def _tell(self, event: ContentEvent) -> None:
        # Without a follower nothing is kept: `run` begins with the inventory.
        if self._is_followed:
            self._news.append(event)
            self._woken.set()


class MemoryIngest:
    """A blob that a test lets arrive, piece by piece."""

    def __init__(self, store: MemoryStore, digest: Digest, total: int) -> None:
        self.digest = digest
        self.total = total
        self._store = store
        self._data = bytearray()
        self._is_open = True
        self._is_committed = False
        self.descriptor = os.memfd_create(f"ingest {digest}", os.MFD_CLOEXEC)

    @property
    def status(self) -> PartialStatus:
        """How far it is."""
        total = len(self._data) if self._is_committed else self.total
        return PartialStatus(len(self._data), total)

    @property
    def is_alive(self) -> bool:
        """Whether it still arrives, or has arrived."""
        return self._is_open or self._is_committed

    def write(self, data: bytes) -> None:
        """Let more bytes arrive."""
        self._data += data
        os.pwrite(self.descriptor, data, len(self._data) - len(data))
        self._store._progress(self)  # one class in two halves

    def commit(self) -> None:
        """Make it a held blob; like containerd, only if the digest is right."""
        if not self.digest.matches(bytes(self._data)):
            raise ValueError(f"{len(self._data)} bytes do not have the digest {self.digest}")
        self._is_committed = True
        self._store._commit(self.digest, bytes(self._data))
        self._close()

    def keep(self) -> None:
        """Stop writing; another pull may go on."""
        self._store._tell(PartialLeft(self.digest))

    def abort(self) -> None:
        """Give it up."""
        self._close()

    def _close(self) -> None:
        self._is_open = False
        self._store._end_ingest(self)
        os.close(self.descriptor)


class MemoryPartial:
    """An open ingest, as the port shows it."""

    def __init__(self, ingest: MemoryIngest) -> None:
        self._ingest = ingest
        self._descriptor = os.dup(ingest.descriptor)

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""
        return self._ingest.status.total

    def fileno(self) -> int:
        """The descriptor of the growing file."""
        return self._descriptor

    def poll(self) -> PartialStatus | None:
        """Return how far it is now, or None once it was aborted."""
        return self._ingest.status if self._ingest.is_alive else None

    async def aclose(self) -> None:
        """Release the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class MemoryReader:
    """An open blob; its bytes are its own, whatever happens to the store."""

    def __init__(self, data: bytes, *, has_descriptor: bool) -> None:
        self._data = data
        self._descriptor = -1
        if has_descriptor:
            self._descriptor = os.memfd_create("blob", os.MFD_CLOEXEC)
            os.write(self._descriptor, data)

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""
        return len(self._data)

    def fileno(self) -> int | None:
        """The descriptor of a file with the blob's bytes, or None."""
        return None if self._descriptor < 0 else self._descriptor

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`."""
        await trio.lowlevel.checkpoint()
        return self._data[offset : offset + length]

    async def aclose(self) -> None:
        """Release the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
