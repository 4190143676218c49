"""The layout's directory: made, recognised, locked, its index replaced in one step.

    oci-layout                          image-spec's mark
    index.json                          what the tags name
    blobs/<algorithm>/<hex>             committed blobs; read-only once they are verified
    ingest/<id>/{data,ref,total}        blobs that are still arriving

Everything here blocks: it is called in worker threads.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.files.content_root import ALGORITHMS, ContentRoot
from spegel_gossip.stores.layout.image_index import MAX_INDEX_BYTES, ImageIndex, InvalidIndexError, NamedEntry
from spegel_gossip.stores.layout.locks import locked
from spegel_gossip.stores.records import ImageRecord

LAYOUT_VERSION = "1.0.0"
INDEX_NAME = "index.json"

HASH_STEP = 4 * 1024 * 1024
"""Bytes read at a time to be hashed."""

MAX_INDEX_ATTEMPTS = 10
"""Times that a change of the index is made anew because another program wrote it meanwhile."""

_MARK = "oci-layout"
_NEW_SUFFIX = ".new"
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class LayoutDirectory:
    """One image layout on disk. Holds no state: every process sees the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = ContentRoot(path)

    def create(self) -> None:
        """Make a layout of an absent or empty directory; what is missing in one that is there is added.

        Raises:
            LockedError: somebody else is at it; try again.
            ContentStoreUnavailableError: it holds something else, or cannot be written.
        """
        try:
            self.path.mkdir(exist_ok=True)
            with locked(self.path):
                self._create()
        except OSError as exc:
            raise ContentStoreUnavailableError(
                f"no image layout can be made at {self.path}: {exc.strerror or exc}"
            ) from exc

    def _create(self) -> None:
        if not (self.path / _MARK).exists():
            # A store of containerd's has blobs/ and ingest/ too, and `gc` would empty it.
            strange = sorted(
                {path.name for path in self.path.iterdir()} - {_MARK + _NEW_SUFFIX, "lost+found"}
            )
            if strange:
                raise ContentStoreUnavailableError(
                    f"{self.path} holds {strange[0]!r} and is no image layout: give an empty directory"
                )
            self._replace(_MARK, json.dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode() + b"\n")
        self.check()
        # The index comes last: a layout that has it lacks nothing, and may be one that can only be read.
        if not (self.path / INDEX_NAME).exists():
            for algorithm in ALGORITHMS:
                (self.content.blobs / algorithm).mkdir(parents=True, exist_ok=True)
            self.content.ingests.mkdir(exist_ok=True)
            self._replace(INDEX_NAME, ImageIndex.empty().encode())

    def check(self) -> None:
        """Make sure that this is an image layout of the version that is known.

        Raises:
            ContentStoreUnavailableError: it is not.
        """
        try:
            version = json.loads((self.path / _MARK).read_bytes())["imageLayoutVersion"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ContentStoreUnavailableError(
                f"{self.path} is no image layout: {_MARK} cannot be read ({exc})"
            ) from exc
        if version != LAYOUT_VERSION:
            raise ContentStoreUnavailableError(
                f"{self.path} is an image layout of version {version!r}, not {LAYOUT_VERSION}: give another"
            )

    def read_index(self) -> ImageIndex:
        """Return what `index.json` says now.

        Raises:
            ContentStoreUnavailableError: it is not there or cannot be understood.
        """
        path = self.path / INDEX_NAME
        try:
            with path.open("rb") as file:
                return ImageIndex.parse(file.read(MAX_INDEX_BYTES + 1))
        except (OSError, InvalidIndexError) as exc:
            raise ContentStoreUnavailableError(
                f"{path} cannot be read ({exc}): is {self.path} an OCI image layout?"
            ) from exc

    def change_index(self, change: Callable[[ImageIndex], ImageIndex]) -> None:
        """Put a changed index in place, whole or not at all; the caller holds the layout's lock.

        Other programs (skopeo, podman) write the index without any lock. So what was read is looked at
        again when the new file is on disk, and changed anew if somebody was faster: what remains of the race
        is the instant between that look and the rename, and a program that read before it and writes after.

        Raises:
            ContentStoreUnavailableError: `index.json` cannot be read.
            OSError: the disk failed; the old one is still there.
        """
        for _ in range(MAX_INDEX_ATTEMPTS):
            seen = self.index_signature()
            self._write_new(INDEX_NAME, change(self.read_index()).encode())
            if self.index_signature() == seen:
                break
        # Whoever writes without end is no reason not to write at all.
        self._put_new(INDEX_NAME)

    def index_signature(self) -> tuple[int, int, int] | None:
        """Return what changes whenever `index.json` does; None if it is not there."""
        try:
            status = (self.path / INDEX_NAME).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def records(self) -> list[ImageRecord]:
        """Return the tagged images.

        Raises:
            ContentStoreUnavailableError: `index.json` cannot be read.
        """
        return [
            ImageRecord(str(entry.tag), entry.target, self._recorded_at(entry))
            for entry in self.read_index().entries
            if entry.tag is not None
        ]

    def _recorded_at(self, entry: NamedEntry) -> float:
        if entry.updated_at is not None:
            return entry.updated_at
        # Another program's entry bears no time; its manifest came no later than its tag.
        with suppress(OSError):
            return Path(self.content.blob_path(entry.target.digest)).stat().st_mtime
        return 0.0

    def sealed_size(self, digest: Digest) -> int | None:
        """Return the size of a blob that was verified; None if there is none, or it was not yet."""
        try:
            status = Path(self.content.blob_path(digest)).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if status.st_mode & _WRITE_BITS else status.st_size

    def verified_size(self, digest: Digest) -> int | None:
        """Return the size of a blob after hashing it, however long that takes; None if it is not that blob.

        It is sealed by that, so that it is hashed once; what is wrong loses its seal.
        """
        hasher = digest.hasher()
        try:
            with os.fdopen(self.content.open_blob(digest), "rb", buffering=0) as file:
                while data := file.read(HASH_STEP):
                    hasher.update(data)
                status = os.fstat(file.fileno())
                is_right = hasher.hexdigest() == digest.hex and file.tell() == status.st_size
                mode = stat.S_IMODE(status.st_mode)
                # A layout that belongs to somebody else can still be read.
                with suppress(OSError):
                    os.fchmod(file.fileno(), mode & ~_WRITE_BITS if is_right else mode | stat.S_IWUSR)
                return status.st_size if is_right else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def held_size(self, digest: Digest) -> int | None:
        """Return the size of a blob that is here and right; hashes it where nobody has yet."""
        sealed = self.sealed_size(digest)
        return self.verified_size(digest) if sealed is None else sealed

    def touch_held(self, digest: Digest) -> bool:
        """Return whether a blob is here and right, and keep `gc` away from it for its grace.

        Raises:
            LockedError: the layout is being changed; try again.
            OSError: the disk failed.
        """
        if self.held_size(digest) is None:
            return False
        # Under the lock, so that no collection is between its decision and its deed.
        with locked(self.path, is_shared=True):
            try:
                os.utime(self.content.blob_path(digest))
            except FileNotFoundError:
                return False
        return True

    def _replace(self, name: str, data: bytes) -> None:
        self._write_new(name, data)
        self._put_new(name)

    def _write_new(self, name: str, data: bytes) -> None:
        # One name suffices: who writes holds the lock. A leftover of a crash is overwritten.
        new = self.path / (name + _NEW_SUFFIX)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _put_new(self, name: str) -> None:
        (self.path / (name + _NEW_SUFFIX)).replace(self.path / name)
        sync_directory(self.path)


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory survive a power cut.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
