"""Open blobs: files of a content root, committed or still growing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import trio

from spegel_gossip.content import ContentNotFoundError, ContentStoreUnavailableError, PartialStatus
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.files.content_root import ContentRoot


class BlobVanishedError(ContentNotFoundError):
    """A blob that should be held is not on disk as it should be: it is held no more."""

    def __init__(self, digest: Digest, reason: str) -> None:
        """Keep what was found instead."""
        super().__init__(digest)
        self.reason = reason


class FileReader:
    """A committed blob's file. The descriptor outlives the file's name."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""
        return self._size

    def fileno(self) -> int:
        """The descriptor of the blob's file."""
        return self._descriptor

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; from a thread, since the disk may be slow.

        Raises:
            ContentStoreUnavailableError: the disk failed.
        """
        # A duplicate: a cancelled read leaves its thread running, which must not find
        # its number closed, or worse, given to another file.
        lent = [os.dup(self._descriptor)]
        try:
            return await trio.to_thread.run_sync(_read, lent, offset, length, abandon_on_cancel=True)
        finally:
            # Where no thread took it, none will close it.
            with suppress(IndexError):
                os.close(lent.pop())

    async def aclose(self) -> None:
        """Release the descriptor. Safe to call twice."""
        _close(self)


class GrowingFile:
    """An ingest's data file, before its commit and after it.

    A commit renames the file and an abort unlinks it; the descriptor sees the same
    inode throughout, and the number of its names says which of the two it was.
    """

    def __init__(self, root: ContentRoot, digest: Digest, path: str | Path, *, total: int) -> None:
        """Open the file.

        Args:
            root: where the blob will be once it is committed
            digest: of the whole blob
            path: the ingest's data file, or the blob's own
            total: the full size, 0 if unknown

        Raises:
            OSError: it is not there any more.
        """
        self._blob_path = Path(root.blob_path(digest))
        self._total = total
        self._is_committed = False
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""
        return self._total

    def fileno(self) -> int:
        """The descriptor of the growing file."""
        return self._descriptor

    def poll(self) -> PartialStatus | None:
        """Return how far it is now, or None once it was aborted."""
        status = os.fstat(self._descriptor)
        if not self._is_committed:
            if status.st_nlink == 0:
                return None
            if self._total == 0 or status.st_size >= self._total:
                self._is_committed = self._is_blob(status)
        if self._is_committed:
            self._total = status.st_size
        return PartialStatus(status.st_size, self._total)

    async def aclose(self) -> None:
        """Release the descriptor. Safe to call twice."""
        _close(self)

    def _is_blob(self, status: os.stat_result) -> bool:
        try:
            return os.path.samestat(self._blob_path.stat(), status)
        except FileNotFoundError:
            return False


def open_blob(root: ContentRoot, digest: Digest, size: int) -> FileReader:
    """Open a blob that is known to be held.

    Args:
        root: where it lies
        digest: which it is
        size: what its file must have, or it is not this blob

    Raises:
        BlobVanishedError: it is not there as it should be.
        ContentStoreUnavailableError: the disk failed, or the whole store is gone.
    """
    try:
        descriptor = root.open_blob(digest)
    except FileNotFoundError as exc:
        if not root.blobs.is_dir():
            raise ContentStoreUnavailableError(f"{root.blobs} is gone: mount the content root again") from exc
        raise BlobVanishedError(digest, "its file is gone") from exc
    except OSError as exc:
        raise ContentStoreUnavailableError(f"a blob cannot be opened: {exc}") from exc
    actual = os.fstat(descriptor).st_size
    if actual != size:
        os.close(descriptor)
        raise BlobVanishedError(digest, f"its file has {actual} bytes instead of {size}")
    return FileReader(descriptor, size)


def _close(reader: FileReader | GrowingFile) -> None:
    descriptor, reader._descriptor = reader._descriptor, -1
    if descriptor >= 0:
        os.close(descriptor)


def _read(lent: list[int], offset: int, length: int) -> bytes:
    """Read from a descriptor that was lent: whoever takes it out of the list closes it."""
    try:
        descriptor = lent.pop()
    except IndexError:
        return b""  # given up before it began; nobody hears it
    try:
        return os.pread(descriptor, length, offset)
    except OSError as exc:
        raise ContentStoreUnavailableError(f"reading a blob failed: {exc}; look at the disk") from exc
    finally:
        os.close(descriptor)
