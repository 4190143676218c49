"""Looking at containerd as a whole, and at one image: what worker threads do for the store.

Functions here block. They read the inventory, which the event loop may change
meanwhile, by single look-ups only; what they return is applied on the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES
from spegel_gossip.oci.wholeness import wholeness
from spegel_gossip.stores import metrics
from spegel_gossip.stores.containerd.config import CONTENT_PLUGIN
from spegel_gossip.stores.containerd.service import ContainerdService
from spegel_gossip.stores.files.content_root import ContentRoot
from spegel_gossip.stores.manifests import ManifestCache
from spegel_gossip.stores.records import ImageRecord

ROOT_SAMPLE = 3
"""Listed blobs that are looked for to tell whether a directory is this containerd's content store."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything the namespace holds, and how that differs from what was known."""

    root: ContentRoot | None
    added: dict[Digest, int]
    removed: list[Digest]
    images: list[ImageRecord]
    namespaces: list[str]


@dataclass(slots=True)
class Examination:
    """One image, seen live."""

    record: ImageRecord | None = None
    found: dict[Digest, int] = field(default_factory=dict)
    """Held blobs that the inventory did not know."""

    is_whole: bool = False


def survey(service: ContainerdService, configured_root: Path, known: Mapping[Digest, int]) -> Survey:
    """Ask for everything. What is listed but not on disk is not held.

    Raises:
        ContentStoreUnavailableError: containerd went away.
    """
    exported = service.content_root()
    listed = service.blobs()
    root = choose_root(exported, configured_root, listed)
    held = listed
    if root is not None:
        on_disk = root.digests()
        held = {digest: size for digest, size in listed.items() if digest in on_disk}
        metrics.BLOBS_VANISHED.inc(len(listed) - len(held))
    return Survey(
        root=root,
        added={digest: size for digest, size in held.items() if known.get(digest) != size},
        removed=[digest for digest in known if digest not in held],
        images=service.images(),
        namespaces=service.namespaces(),
    )


def choose_root(exported: str | None, configured: Path, listed: Iterable[Digest]) -> ContentRoot | None:
    """Return the directory from which this containerd's blobs can be read, or None.

    containerd's own word comes first, but it is a path of *its* mount namespace: in a
    pod something else may lie there, so the blobs it lists must be found beneath it.
    Where it lists none, the directory may not be made yet.
    """
    paths = (
        [configured / CONTENT_PLUGIN] if exported is None else [Path(exported), configured / CONTENT_PLUGIN]
    )
    sample = [digest for digest, _ in zip(listed, range(ROOT_SAMPLE), strict=False)]
    roots = [ContentRoot(path) for path in paths]
    for root in roots:
        if root.is_readable() and (
            not sample or any(root.blob_size(digest) is not None for digest in sample)
        ):
            return root
    return next((root for root in roots if not sample and root.is_to_come()), None)


class Examiner:
    """Reads images through whatever can be read: the disk, else containerd."""

    def __init__(self, blobs: Mapping[Digest, int], manifests: ManifestCache) -> None:
        self._blobs = blobs
        self._manifests = manifests

    def examine(self, service: ContainerdService, root: ContentRoot | None, name: str) -> Examination:
        """Look at one image, asking containerd about every part that is not known to be held.

        Raises:
            ContentStoreError: containerd or the disk gave no usable answer.
        """
        result = Examination(service.image(name))
        if result.record is None:
            return result

        def is_held(digest: Digest) -> bool:
            if digest in self._blobs or digest in result.found:
                return True
            size = held_size(service, root, digest)
            if size is not None:
                result.found[digest] = size
            return size is not None

        try:
            verdict = wholeness(
                result.record.target.digest,
                is_held=is_held,
                manifest=lambda digest: self._manifests.get(
                    digest, lambda digest: read_manifest(service, root, digest)
                ),
            )
        except InvalidManifestError:
            return result
        result.is_whole = verdict.is_whole
        return result

    def load(
        self, service: ContainerdService, root: ContentRoot | None, records: Iterable[ImageRecord]
    ) -> None:
        """Read the manifests of these images into the cache, as far as they are held and readable."""
        self._manifests.load(
            (record.target.digest for record in records),
            is_held=self._blobs.__contains__,
            read=lambda digest: read_manifest(service, root, digest),
        )


def held_size(service: ContainerdService, root: ContentRoot | None, digest: Digest) -> int | None:
    """Return the size of a blob if the namespace holds it and it can be read, else None.

    The disk is asked first: what is not there is not held, and that answer is free.
    """
    on_disk = None if root is None else root.blob_size(digest)
    if root is not None and on_disk is None:
        return None
    size = service.blob_size(digest)
    return size if on_disk is None or size == on_disk else None


def read_manifest(service: ContainerdService, root: ContentRoot | None, digest: Digest) -> bytes:
    """Return a blob's bytes, a few more than a manifest may have at most.

    Raises:
        ContentNotFoundError: it is gone.
        ContentStoreUnavailableError: it cannot be read.
    """
    if root is None:
        data = service.read(digest, 0, MAX_MANIFEST_BYTES + 1)
        if data is None:
            raise ContentNotFoundError(digest)
        return data
    return root.read_manifest(digest)
