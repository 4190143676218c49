"""The content store port: what this node holds, and news of it.

Two stores implement it: containerd's (`stores/containerd`) and an OCI image
layout (`stores/layout`). "The store answered no" and "nobody could answer" are
different errors, so that a containerd that is down is never taken for a miss.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName


class ContentStoreError(SpegelGossipError):
    """The content store did not give what was asked."""


class ContentNotFoundError(ContentStoreError):
    """The store answered that it lacks this content: ask the ring."""

    def __init__(self, what: Digest | TagName) -> None:
        """Keep what was asked for."""
        self.what = what
        super().__init__(f"{what} is not in the local content store")


class ContentStoreUnavailableError(ContentStoreError):
    """The store gave no usable answer: nobody knows; do not pretend it is a miss."""


class ContentMismatchError(ContentStoreError):
    """What was received is not what its digest says: fetch it again, from somewhere else."""

    def __init__(self, digest: Digest, reason: str) -> None:
        """Keep which blob it should have been."""
        self.digest = digest
        super().__init__(f"the bytes received are not {digest}: {reason}")


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether the store can be used now, and if not quite, why."""

    is_connected: bool
    """The store's own service answers (containerd's socket)."""

    is_readable: bool
    """Blobs that are held can be read and served, from disk if not otherwise."""

    reason: str = ""
    """What is wrong and what to do, for logs, `/readyz` and `status`; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class PartialStatus:
    """How far a blob that is still arriving has come, in bytes."""

    offset: int
    total: int
    """The full size; 0 while the store does not know it."""


@dataclass(frozen=True, slots=True)
class BlobAdded:
    """A whole, committed blob is held from now on."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class BlobRemoved:
    """A blob is no longer held."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class TagChanged:
    """A tag now names `target`, and the whole image is here.

    Whole: the manifest, the config and all layers of at least one platform, or for
    an artifact all that its manifest names. A tag whose image is not whole is
    reported as removed.
    """

    name: TagName
    target: Descriptor
    updated_at: float
    """When the store last recorded the tag, unix seconds by its own clock."""


@dataclass(frozen=True, slots=True)
class TagRemoved:
    """A tag no longer resolves here."""

    name: TagName


@dataclass(frozen=True, slots=True)
class PartialChanged:
    """An ingest was opened or has grown."""

    digest: Digest
    status: PartialStatus


@dataclass(frozen=True, slots=True)
class PartialRemoved:
    """An ingest ended, by commit or by abort."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class PartialLeft:
    """An ingest's writer closed it before its end; no more comes unless another pull goes on with it."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class AvailabilityChanged:
    """The store came, went, or changed its reason."""

    availability: Availability


ContentEvent = (
    BlobAdded
    | BlobRemoved
    | TagChanged
    | TagRemoved
    | PartialChanged
    | PartialRemoved
    | PartialLeft
    | AvailabilityChanged
)


@runtime_checkable
class BlobReader(Protocol):
    """An open, committed blob. Stays readable if the blob is collected meanwhile."""

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""

    def fileno(self) -> int | None:
        """The descriptor of a regular file with exactly the blob's bytes, or None.

        None means the bytes can only be had through `read_at`.
        """

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; empty only at the end.

        Raises:
            ContentStoreError: the store failed in the middle.
        """

    async def aclose(self) -> None:
        """Release the descriptor. Safe to call twice."""


@runtime_checkable
class PartialBlob(Protocol):
    """An open ingest: a blob that is still arriving, in order, from byte 0."""

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""

    def fileno(self) -> int:
        """The descriptor of the growing file; it survives the commit."""

    def poll(self) -> PartialStatus | None:
        """Return how far it is now, or None once it was aborted.

        After the commit `offset` equals `total` and stays so.
        """

    async def aclose(self) -> None:
        """Release the descriptor. Safe to call twice."""


Emit = Callable[[ContentEvent], Awaitable[None]]


class ContentStore(Protocol):
    """What this node holds.

    `run` keeps an inventory and emits its changes; replaying every event since
    the start gives the inventory. The synchronous methods read that inventory and
    never block; the asynchronous ones may look further (disk, service), so that
    content committed a moment ago is found before its event.
    """

    def availability(self) -> Availability:
        """Return whether the store can be used now."""

    def blobs(self) -> Mapping[Digest, int]:
        """Return the held blobs with their sizes; a live view, do not keep it across an await."""

    def tags(self) -> Mapping[TagName, TagChanged]:
        """Return the tags whose images are whole here; a live view."""

    def partials(self) -> Mapping[Digest, PartialStatus]:
        """Return the open ingests; a live view."""

    async def size(self, digest: Digest) -> int:
        """Return the size of a held blob in bytes.

        Raises:
            ContentNotFoundError: the store lacks the blob.
            ContentStoreUnavailableError: the store gave no usable answer.
        """

    async def open(self, digest: Digest) -> BlobReader:
        """Open a held blob.

        Raises:
            ContentNotFoundError: the store lacks the blob.
            ContentStoreUnavailableError: the store gave no usable answer.
        """

    async def open_partial(self, digest: Digest) -> PartialBlob:
        """Open the ingest of a blob that is still arriving.

        Raises:
            ContentNotFoundError: there is no such ingest, or `partials` has it and its bytes cannot be read.
        """

    async def resolve(self, name: TagName) -> TagChanged:
        """Return what a tag names here, only while its whole image is here.

        Raises:
            ContentNotFoundError: no such tag, or its image is not whole.
            ContentStoreUnavailableError: the store gave no usable answer.
        """

    async def run(self, emit: Emit) -> None:
        """Follow the store until cancelled, through every loss of its service."""


@runtime_checkable
class Ingest(Protocol):
    """A blob that this task is putting into a store, in order; nobody else writes it meanwhile.

    It ends by `commit`, `abort` or `keep`, whatever happens; a second ending is nothing.
    """

    @property
    def offset(self) -> int:
        """Bytes that are here and hashed; the next `write` goes on from there, with 0 or a resumed one."""

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes. A cancelled write has been done in full or not begun.

        Raises:
            ContentMismatchError: they are more than `total`; the ingest was aborted.
            ContentStoreUnavailableError: the disk failed or is full; what fitted is kept.
        """

    async def commit(self) -> None:
        """Verify, sync, and make it a held blob, all at once for every reader.

        Raises:
            ContentMismatchError: too few bytes, or not those of the digest; the ingest was aborted.
            ContentStoreUnavailableError: the disk failed; the ingest was aborted.
        """

    async def abort(self) -> None:
        """Give it up, and its bytes."""

    async def keep(self) -> None:
        """Stop here; whoever opens an ingest of the same digest goes on from `offset`."""


class ContentWriter(Protocol):
    """The way into a store that this project writes itself; containerd writes its own."""

    async def open_ingest(self, ref: str, digest: Digest, total: int) -> Ingest | None:
        """Begin to put a blob in, or resume; None if the store holds it, in full and verified.

        While somebody else, in any process, is putting the same blob in, this waits for
        that one's end. Ask for every blob of an image, held or not: those that are here are
        then safe from `gc` until the image is tagged.

        Args:
            ref: what the ingest is called, ending with the digest: `layer-sha256:…`
            digest: of the whole blob
            total: its size in bytes; 0 if unknown

        Raises:
            ContentStoreUnavailableError: the store cannot be written.
        """

    async def tag(self, name: TagName, target: Descriptor) -> None:
        """Let a tag name a held manifest or index, in place of what it named before.

        Raises:
            ContentNotFoundError: the store does not hold `target`.
            ContentStoreUnavailableError: the store cannot be written.
        """

    async def untag(self, name: TagName) -> None:
        """Forget a tag; one that is not there is no error.

        Raises:
            ContentStoreUnavailableError: the store cannot be written.
        """
