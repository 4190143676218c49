"""An OCI image layout as a content store: what a node without containerd shares."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from spegel_gossip.content import (
    Availability,
    BlobReader,
    ContentNotFoundError,
    ContentStoreUnavailableError,
    Emit,
    PartialBlob,
    PartialStatus,
    TagChanged,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.wholeness import wholeness
from spegel_gossip.stores import metrics
from spegel_gossip.stores.files.readers import BlobVanishedError, open_blob
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.follower import Follower
from spegel_gossip.stores.layout.locks import in_thread
from spegel_gossip.stores.manifests import ManifestCache
from spegel_gossip.stores.records import ImageRecord


class LayoutStore:
    """What one image layout holds, whoever writes it; reads only.

    Before `run` has looked, and without it, everything is found on disk when asked for.
    """

    def __init__(self, config: LayoutConfig) -> None:
        self._layout = LayoutDirectory(config.root)
        reason = f"the image layout at {config.root} was not read yet"
        self._inventory = Inventory(Availability(is_connected=False, is_readable=False, reason=reason))
        self._manifests = ManifestCache()
        self._follower = Follower(config, self._layout, self._inventory, self._manifests)

    def availability(self) -> Availability:
        """Return whether the store can be used now: connected means that `index.json` can be read."""
        return self._inventory.availability

    def blobs(self) -> Mapping[Digest, int]:
        """Return the held blobs with their sizes; a live view."""
        return self._inventory.blobs

    def tags(self) -> Mapping[TagName, TagChanged]:
        """Return the tags whose images are whole here; a live view."""
        return self._inventory.tags

    def partials(self) -> Mapping[Digest, PartialStatus]:
        """Return the open ingests; a live view."""
        return self._inventory.partials

    async def run(self, emit: Emit) -> None:
        """Follow the layout until cancelled, through its loss."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inventory.run_emitter, emit)
            await self._follower.run()

    async def size(self, digest: Digest) -> int:
        """Return the size of a held blob in bytes."""
        known = self._inventory.blobs.get(digest)
        return await self._look_further(digest) if known is None else known

    async def open(self, digest: Digest) -> BlobReader:
        """Open a held blob."""
        size = await self.size(digest)
        try:
            return open_blob(self._layout.content, digest, size)
        except BlobVanishedError:
            metrics.BLOBS_VANISHED.inc()
            self._follower.remove_blobs([digest])
            raise

    async def open_partial(self, digest: Digest) -> PartialBlob:
        """Open the ingest of a blob that is still arriving."""
        await trio.lowlevel.checkpoint()
        return self._follower.ingests.open(self._layout.content, digest)

    async def resolve(self, name: TagName) -> TagChanged:
        """Return what a tag names here, only while its whole image is here."""
        known = self._inventory.tags.get(name)
        if known is not None:
            return known
        record = await in_thread(lambda: self._find_whole(name))
        if record is None:
            raise ContentNotFoundError(name)
        return TagChanged(name, record.target, record.updated_at)

    async def _look_further(self, digest: Digest) -> int:
        size = None
        if self._follower.may_be_there(digest):
            look = self._layout.verified_size if self._follower.is_doubted(digest) else self._layout.held_size
            size = await in_thread(lambda: look(digest))
        if size is not None:
            return size
        if not self._layout.content.blobs.is_dir():
            raise ContentStoreUnavailableError(f"{self._layout.path} is not there: make or mount it")
        raise ContentNotFoundError(digest)

    def _find_whole(self, name: TagName) -> ImageRecord | None:
        records = (one for one in self._layout.records() if one.tag == name)
        record = max(records, key=lambda one: one.updated_at, default=None)
        if record is None:
            return None
        try:
            verdict = wholeness(
                record.target.digest,
                is_held=lambda digest: self._layout.sealed_size(digest) is not None,
                manifest=lambda digest: self._manifests.get(digest, self._layout.content.read_manifest),
            )
        except (InvalidManifestError, ContentNotFoundError):
            return None
        return record if verdict.is_whole else None
