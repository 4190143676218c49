"""One ingest on disk, from its first byte to its blob: the order in which files are made and synced.

Killed between any two steps it leaves an ingest that the next writer goes on with,
or a whole blob; never a blob that is not what its name says:

    ref, total, data      the ingest is there before its first byte
    data grows            in order; whoever resumes hashes again what is there
    hash, fsync(data)     verified and on disk before it has the name of a blob
    rename, fsync(dir)    all at once
    ref, total, ingest    removed; without `data` they mean nothing

Everything here blocks: it is called in worker threads, by one task at a time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from spegel_gossip.content import ContentMismatchError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.layout.directory import HASH_STEP, LayoutDirectory, sync_directory
from spegel_gossip.stores.layout.locks import LockedError, lock_directory

_GROWING = 0o644
_SEALED = 0o444
_PARTS = ("data", "ref", "total")


class IngestFile:
    """An ingest that belongs to this object until it ends; holds the ingest's lock.

    A killed holder's lock ends with it. `rehash` must have returned True before the
    first `write` or `commit`.
    """

    def __init__(self, layout: LayoutDirectory, digest: Digest, total: int, lock: int, data: int) -> None:
        self.digest = digest
        self.total = total
        self.offset = 0
        self._layout = layout
        self._path = ingest_path(layout, digest)
        self._lock = lock
        self._data = data
        self._hasher = digest.hasher()
        self._is_open = True

    def rehash(self) -> bool:
        """Take in a part of what an earlier writer left; return whether that was all."""
        there = os.fstat(self._data).st_size
        if self.total and there > self.total:
            os.ftruncate(self._data, 0)
            there = 0
        data = os.pread(self._data, min(HASH_STEP, there - self.offset), self.offset)
        self._hasher.update(data)
        self.offset += len(data)
        return self.offset >= there

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            ContentMismatchError: they are too many; the ingest was aborted.
            OSError: the disk failed or is full; what fitted is kept.
        """
        self._check_open()
        left = memoryview(data).cast("B")
        if self.total and self.offset + len(left) > self.total:
            self.abort()
            raise ContentMismatchError(self.digest, f"there are more than the {self.total} announced")
        while left:
            count = os.pwrite(self._data, left, self.offset)
            self._hasher.update(left[:count])
            self.offset += count
            left = left[count:]

    def commit(self) -> None:
        """Verify, sync and rename.

        Raises:
            ContentMismatchError: it is not the blob it should be; the ingest was aborted.
            OSError: the disk failed; the ingest was aborted.
        """
        self._check_open()
        try:
            self._verify()
            os.fchmod(self._data, _SEALED)
            # It is young from now on, however long ago its last byte came.
            os.utime(self._data)
            os.fsync(self._data)
            # Closed under its old name: a file closed in blobs/ is one that somebody wrote there.
            self._close_data()
            blob = Path(self._layout.content.blob_path(self.digest))
            (self._path / "data").replace(blob)
            sync_directory(blob.parent)
        except BaseException:
            # After a failed fsync nobody knows what is on disk: begin again.
            self.abort()
            raise
        self._end()

    def abort(self) -> None:
        """Remove the ingest with its bytes."""
        self._end()

    def keep(self) -> None:
        """Leave it to whoever comes next."""
        if self._is_open:
            self._is_open = False
            self._close_data()
            os.close(self._lock)

    def _verify(self) -> None:
        if self.total and self.offset != self.total:
            raise ContentMismatchError(self.digest, f"there are {self.offset} of {self.total}")
        if self._hasher.hexdigest() != self.digest.hex:
            raise ContentMismatchError(
                self.digest, f"their hash is {self.digest.algorithm}:{self._hasher.hexdigest()}"
            )

    def _end(self) -> None:
        if self._is_open:
            with suppress(OSError):
                remove_ingest(self._path)
            self.keep()

    def _close_data(self) -> None:
        descriptor, self._data = self._data, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("the ingest has ended")


def open_ingest_file(layout: LayoutDirectory, ref: str, digest: Digest, total: int) -> IngestFile | None:
    """Open an ingest, or resume it; None if the blob is held.

    Raises:
        LockedError: somebody else has it; try again.
        OSError: the disk failed.
    """
    path = ingest_path(layout, digest)
    if not path.exists() and layout.touch_held(digest):
        return None
    path.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        # Not `exist_ok`: that looks again, and its last holder may have removed it by then.
        path.mkdir()
    try:
        lock = lock_directory(path)
    except FileNotFoundError as exc:
        # Its last holder has just removed it.
        raise LockedError from exc
    try:
        # Looked at again under the lock: its last writer has probably just committed it.
        if layout.touch_held(digest):
            remove_ingest(path)
            os.close(lock)
            return None
        Path(layout.content.blob_path(digest)).parent.mkdir(parents=True, exist_ok=True)
        total = total or layout.content.ingest_total(path.name)
        if total:
            _put(path / "total", str(total))
        _put(path / "ref", ref)
        with suppress(FileNotFoundError):
            # Its last writer may have been killed between sealing and renaming it.
            (path / "data").chmod(_GROWING)
        data = os.open(path / "data", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _GROWING)
    except BaseException:
        os.close(lock)
        raise
    return IngestFile(layout, digest, total, lock, data)


def ingest_path(layout: LayoutDirectory, digest: Digest) -> Path:
    """Return the directory of the one ingest that a blob can have."""
    return layout.content.ingests / f"{digest.algorithm}-{digest.hex}"


def remove_ingest(path: Path) -> None:
    """Remove an ingest's directory, the bytes first; the caller holds its lock.

    Raises:
        OSError: the disk failed.
    """
    for name in _PARTS:
        (path / name).unlink(missing_ok=True)
    path.rmdir()


def _put(path: Path, text: str) -> None:
    # Written before anybody believes in it: a `ref` counts once it ends with a digest.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
