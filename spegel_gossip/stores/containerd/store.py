"""containerd as a content store: the port, over the inventory, the disk and the socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
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
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores import metrics
from spegel_gossip.stores.containerd.agenda import Agenda
from spegel_gossip.stores.containerd.config import CONTENT_PLUGIN, ContainerdConfig
from spegel_gossip.stores.containerd.follower import Follower
from spegel_gossip.stores.containerd.inspection import Inspector
from spegel_gossip.stores.containerd.link import Link
from spegel_gossip.stores.containerd.pulls import ContainerdPuller
from spegel_gossip.stores.containerd.readers import ServiceReader
from spegel_gossip.stores.containerd.survey import Examiner, held_size
from spegel_gossip.stores.files.content_root import ContentRoot
from spegel_gossip.stores.files.disk import DiskNews, DiskWatch
from spegel_gossip.stores.files.ingests import Ingests
from spegel_gossip.stores.files.readers import BlobVanishedError, open_blob
from spegel_gossip.stores.images import Images
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.manifests import ManifestCache

log = structlog.get_logger(__name__)


class ContainerdStore:
    """What this node's containerd holds in one namespace.

    Serving what the inventory knows touches neither gRPC nor a thread: one open()
    and the kernel does the rest. While containerd is away the inventory of before
    stays, and the disk is served from.
    """

    def __init__(
        self, config: ContainerdConfig, *, on_wrong_blob: Callable[[Digest], None] = lambda _digest: None
    ) -> None:
        """Ask nothing yet.

        Args:
            config: where containerd is
            on_wrong_blob: told of a blob that arrived with the bytes of another
        """
        self._config = config
        self._link = Link(config)
        self.puller = ContainerdPuller(config, self._link)
        """Has this containerd pull, when an operator asks for it."""

        reason = f"containerd at {config.address} was not asked yet"
        self._inventory = Inventory(Availability(is_connected=False, is_readable=False, reason=reason))
        manifests = ManifestCache()
        self._images = Images(self._inventory, manifests)
        self._examiner = Examiner(self._inventory.blobs, manifests)
        self._agenda = Agenda()
        self._inspector = Inspector(self._link, on_wrong_blob)
        self._ingests = Ingests(
            f"{config.namespace}/", self._inventory, on_commit=self._on_arrival, observer=self._inspector
        )
        self._disk = DiskWatch(
            self._ingests,
            DiskNews(
                on_watching=lambda: self._agenda.reconcile(after=0),
                on_arrival=self._on_arrival,
                on_removal=self._on_removal,
                # Whether it is whole and ours, containerd tells by its list; and it writes no other files.
                on_written_in_place=self._on_arrival,
                on_file=lambda _name: None,
            ),
        )
        self._follower = Follower(
            config,
            self._link,
            self._inventory,
            self._images,
            self._examiner,
            self._ingests,
            self._disk,
            self._agenda,
        )

    def availability(self) -> Availability:
        """Return whether the store can be used now."""
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
        """Follow containerd until cancelled, through every loss of its socket."""
        configured = ContentRoot(self._config.root / CONTENT_PLUGIN)
        if configured.is_readable() or configured.is_to_come():
            self._disk.follow(configured)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inventory.run_emitter, emit)
            nursery.start_soon(self._disk.run)
            nursery.start_soon(self._inspector.run, self._ingests, self._disk)
            await self._follower.run()

    async def size(self, digest: Digest) -> int:
        """Return the size of a held blob in bytes."""
        known = self._inventory.blobs.get(digest)
        return await self._look_further(digest) if known is None else known

    async def open(self, digest: Digest) -> BlobReader:
        """Open a held blob."""
        size = await self.size(digest)
        root = self._disk.root
        if root is not None:
            try:
                return open_blob(root, digest, size)
            except BlobVanishedError as exc:
                metrics.BLOBS_VANISHED.inc()
                log.warning(
                    "blob is listed by containerd but cannot be served", digest=str(digest), reason=exc.reason
                )
                self._follower.remove_blobs([digest])
                raise
        if not self._link.is_up:
            raise ContentStoreUnavailableError(self.availability().reason)
        return ServiceReader(digest, size, self._read_through_service)

    async def open_partial(self, digest: Digest) -> PartialBlob:
        """Open the ingest of a blob that is still arriving."""
        await trio.lowlevel.checkpoint()
        root = self._disk.root
        if root is None:
            # Only the disk shows an ingest's bytes; the content service reads committed blobs. But
            # that there is one it says, and then `partials` has it.
            if digest not in self._inventory.partials and self._link.is_up:
                self._ingests.compare(await self._link.ask(lambda service: service.ingests()))
            raise ContentNotFoundError(digest)
        return self._ingests.open(root, digest)

    async def resolve(self, name: TagName) -> TagChanged:
        """Return what a tag names here, only while its whole image is here."""
        known = self._inventory.tags.get(name)
        if known is not None:
            return known
        root = self._disk.root
        seen = await self._link.ask(lambda service: self._examiner.examine(service, root, str(name)))
        if seen.record is None or not seen.is_whole:
            raise ContentNotFoundError(name)
        self._agenda.examine(seen.record.name)
        return TagChanged(name, seen.record.target, seen.record.updated_at)

    async def _look_further(self, digest: Digest) -> int:
        root = self._disk.root
        # The common miss, answered without containerd: what is not on disk is not held.
        if root is not None and self._size_on_disk(root, digest) is None:
            raise ContentNotFoundError(digest)
        size = await self._link.ask(lambda service: held_size(service, root, digest))
        if size is None:
            raise ContentNotFoundError(digest)
        self._agenda.check(digest)
        return size

    def _size_on_disk(self, root: ContentRoot, digest: Digest) -> int | None:
        try:
            size = root.blob_size(digest)
        except OSError as exc:
            raise ContentStoreUnavailableError(f"{root.path} cannot be read: {exc}") from exc
        is_unmade = not self._inventory.blobs and root.is_to_come()
        if size is None and not (is_unmade or root.path.is_dir()):
            raise ContentStoreUnavailableError(f"{root.path} is gone: mount the content root again")
        return size

    async def _read_through_service(self, digest: Digest, offset: int, length: int) -> bytes | None:
        return await self._link.ask(lambda service: service.read(digest, offset, length))

    def _on_arrival(self, digest: Digest) -> None:
        if digest not in self._inventory.blobs:
            self._agenda.check(digest)

    def _on_removal(self, digests: list[Digest]) -> None:
        self._follower.remove_blobs(digests)
