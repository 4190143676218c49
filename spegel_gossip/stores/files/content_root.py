"""A content store on disk: which file is what.

containerd has laid its own out like this from 1.0 to 2.2, and `stores/layout` does as it does:

    blobs/<algorithm>/<hex>                a committed blob, never written again
    ingest/<id>/{data,ref,total,...}       a blob that is still arriving
"""

from __future__ import annotations

import os
from pathlib import Path

from spegel_gossip.content import ContentNotFoundError, ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES, MAX_SIZE

ALGORITHMS = ("sha256", "sha512")

INGEST_DATA = "data"
"""The growing file in an ingest's directory."""

MAX_INGESTS = 1_024
"""Open ingests followed at once, each one inotify watch. A node pulls a few dozen blobs at a time;
what cancelled pulls leave behind is collected by containerd within a day, and by `gc` in a layout."""

MAX_REF_BYTES = 4_096
"""Of an ingest's `ref` file that are read."""


class ContentRoot:
    """The directory of a content store that this process can read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ingests = path / "ingest"
        self.blobs = path / "blobs"
        # Blobs are opened and growing ingests looked at by joined strings: pathlib costs ten times as much.
        self._blobs = os.fspath(self.blobs)
        self._ingests = os.fspath(self.ingests)

    def is_readable(self) -> bool:
        """Return whether blobs could be opened here now."""
        return os.access(self.path, os.R_OK | os.X_OK) and (
            not self.blobs.exists() or os.access(self.blobs, os.R_OK | os.X_OK)
        )

    def is_to_come(self) -> bool:
        """Return whether it is not there, and would be seen as soon as it is.

        containerd 2 makes its content directory with its first ingest.
        """
        return not self.path.exists() and os.access(self.path.parent, os.R_OK | os.X_OK)

    def blob_path(self, digest: Digest) -> str:
        """Return the file of a committed blob, whether it exists or not."""
        return f"{self._blobs}/{digest.algorithm}/{digest.hex}"

    def blob_size(self, digest: Digest) -> int | None:
        """Return the size of a blob's file, or None if there is no such file."""
        try:
            return _size(self.blob_path(digest))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_blob(self, digest: Digest) -> int:
        """Open a blob's file for reading.

        Raises:
            OSError: it is not there, or cannot be opened.
        """
        return os.open(self.blob_path(digest), os.O_RDONLY | os.O_CLOEXEC)

    def read_manifest(self, digest: Digest) -> bytes:
        """Return a blob's bytes, at most one more than a manifest may have.

        Raises:
            ContentNotFoundError: it is not there.
            ContentStoreUnavailableError: it cannot be read.
        """
        try:
            with os.fdopen(self.open_blob(digest), "rb") as file:
                return file.read(MAX_MANIFEST_BYTES + 1)
        except FileNotFoundError as exc:
            raise ContentNotFoundError(digest) from exc
        except OSError as exc:
            raise ContentStoreUnavailableError(f"{self.path} cannot be read: {exc}") from exc

    def digests(self) -> set[Digest]:
        """Return the digests of all files in `blobs/`, of every namespace."""
        found = set()
        for algorithm in ALGORITHMS:
            for name in _names(self.blobs / algorithm):
                digest = digest_of_file(algorithm, name)
                if digest is not None:
                    found.add(digest)
        return found

    def ingest_ids(self) -> list[str]:
        """Return the ids of the ingests that are open, at most MAX_INGESTS of them."""
        return sorted(_names(self.ingests))[:MAX_INGESTS]

    def ingest_ref(self, ingest_id: str) -> str | None:
        """Return an ingest's ref, which ends in `layer-sha256:…`, or None before it is written."""
        return self._ingest_file(ingest_id, "ref") or None

    def ingest_total(self, ingest_id: str) -> int:
        """Return the size that an ingest will have, or 0 where its writer said none that can be."""
        text = self._ingest_file(ingest_id, "total")
        is_size = text.isascii() and text.isdigit() and len(text) < len(str(MAX_SIZE))
        return int(text) if is_size else 0

    def ingest_data(self, ingest_id: str) -> Path:
        """Return the growing file of an ingest."""
        return self.ingests / ingest_id / INGEST_DATA

    def ingest_size(self, ingest_id: str) -> int:
        """Return how far the growing file of an ingest is.

        Raises:
            OSError: it is not there, or the disk failed.
        """
        return _size(f"{self._ingests}/{ingest_id}/{INGEST_DATA}")

    def _ingest_file(self, ingest_id: str, name: str) -> str:
        try:
            with (self.ingests / ingest_id / name).open("rb") as file:
                return file.read(MAX_REF_BYTES).decode("utf-8", "replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""


def digest_of_file(algorithm: str, name: str) -> Digest | None:
    """Return the digest of a file in `blobs/<algorithm>/`, or None for a stray file."""
    try:
        return Digest.parse(f"{algorithm}:{name}")
    except InvalidDigestError:
        return None


def _size(path: str) -> int:
    return os.stat(path).st_size  # noqa: PTH116 - a Path to say it by would cost more than the call


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
