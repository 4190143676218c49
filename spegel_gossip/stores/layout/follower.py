"""Follows a layout that anybody may write: blobs, ingests, `index.json`.

What our own writers commit is sealed, read-only, and believed at once. What anybody
else puts into `blobs/` is hashed in a worker thread before it counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import structlog
import trio

from spegel_gossip.content import Availability, ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.files.disk import DiskNews, DiskWatch
from spegel_gossip.stores.files.ingests import Ingests
from spegel_gossip.stores.images import Images
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.directory import INDEX_NAME, LayoutDirectory
from spegel_gossip.stores.layout.locks import in_thread
from spegel_gossip.stores.manifests import ManifestCache
from spegel_gossip.stores.records import ImageRecord

log = structlog.get_logger(__name__)

ADD_BURST = 1_000
"""Blobs taken in before the other tasks get a turn."""


class Follower:
    """Keeps the inventory true to one layout."""

    def __init__(
        self, config: LayoutConfig, layout: LayoutDirectory, inventory: Inventory, manifests: ManifestCache
    ) -> None:
        self._config = config
        self._layout = layout
        self._inventory = inventory
        self._manifests = manifests
        self._images = Images(inventory, manifests)
        self.ingests = Ingests("", inventory, on_commit=self._on_arrival)
        self._disk = DiskWatch(
            self.ingests,
            DiskNews(
                on_watching=self.reconcile,
                on_arrival=self._on_arrival,
                on_removal=self.remove_blobs,
                on_written_in_place=self.doubt,
                on_file=self._on_file,
            ),
        )
        self._reconcile_at = -math.inf
        self._index_signature: tuple[int, int, int] | None = None
        self._is_index_read = False
        self._index_failed_at: float | None = None
        self._removed_meanwhile: dict[Digest, None] | None = None
        self._doubted: dict[Digest, int] = {}
        self._doubts = count()
        self._has_doubts = trio.Event()
        self._woken = trio.Event()

    def reconcile(self) -> None:
        """Compare everything soon."""
        self._reconcile_at = -math.inf
        self._woken.set()

    def remove_blobs(self, digests: Sequence[Digest]) -> None:
        """Take note at once that blobs are gone, and with them the tags that rest on them."""
        if self._removed_meanwhile is not None:
            self._removed_meanwhile |= dict.fromkeys(digests)
        self._judge([digest for digest in digests if self._inventory.remove_blob(digest)])

    def doubt(self, digest: Digest) -> None:
        """Have a blob hashed before it counts; until then it is not held."""
        self.remove_blobs([digest])
        self._doubted[digest] = next(self._doubts)
        self._has_doubts.set()

    def is_doubted(self, digest: Digest) -> bool:
        """Return whether a blob was written in place and not hashed since."""
        return digest in self._doubted

    async def run(self) -> None:
        """Follow until cancelled."""
        self._disk.follow(self._layout.content)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._disk.run)
            nursery.start_soon(self._run_verifier)
            while True:
                self._woken = trio.Event()
                await self._look()
                with trio.move_on_after(self._config.look_interval):
                    await self._woken.wait()

    async def _look(self) -> None:
        if self._reconcile_at <= trio.current_time():
            await self._reconcile()
        signature = await in_thread(self._layout.index_signature)
        if not self._is_index_read or signature is None or signature != self._index_signature:
            await self._read_index()
        await self._images.judge_all(self._images.unread(), self._load)

    async def _reconcile(self) -> None:
        self._reconcile_at = trio.current_time() + self._config.reconcile_interval
        self._removed_meanwhile = {}
        try:
            sealed, others = await in_thread(self._survey)
            removed_meanwhile = self._removed_meanwhile
        except ContentStoreUnavailableError as exc:
            log.warning("the image layout cannot be read", reason=str(exc))
            return
        finally:
            self._removed_meanwhile = None
        for number, (digest, size) in enumerate(sealed.items(), start=1):
            if digest not in removed_meanwhile and digest not in self._doubted:
                self._add(digest, size)
            if number % ADD_BURST == 0:
                await trio.lowlevel.checkpoint()
        for digest, size in others.items():
            if digest not in removed_meanwhile and self._inventory.blobs.get(digest) != size:
                self.doubt(digest)
        gone = [digest for digest in self._inventory.blobs if digest not in sealed and digest not in others]
        self.remove_blobs([digest for digest in gone if not self.may_be_there(digest)])

    def _survey(self) -> tuple[dict[Digest, int], dict[Digest, int]]:
        sealed: dict[Digest, int] = {}
        others: dict[Digest, int] = {}
        for digest in sorted(self._layout.content.digests()):
            size = self._layout.sealed_size(digest)
            if size is not None:
                sealed[digest] = size
            elif (size := self._layout.content.blob_size(digest)) is not None:
                others[digest] = size
        return sealed, others

    async def _read_index(self) -> None:
        signature = self._layout.index_signature()
        try:
            records = await in_thread(self._layout.records)
        except ContentStoreUnavailableError as exc:
            self._index_unreadable(str(exc))
            return
        if not self._is_index_read:
            log.info("image layout is followed", root=str(self._layout.path), tags=len(records))
        self._is_index_read = True
        self._index_signature = signature
        self._index_failed_at = None
        names = self._images.compare(records)
        await self._images.judge_all(names, self._load)
        self._inventory.set_availability(Availability(is_connected=True, is_readable=True))

    def _index_unreadable(self, reason: str) -> None:
        now = trio.current_time()
        self._index_signature = None
        if self._index_failed_at is None:
            self._index_failed_at = now
        if self._is_index_read and now < self._index_failed_at + self._config.index_patience:
            # Not every program replaces the file in one step.
            return
        if self._inventory.availability.is_connected:
            log.warning("the image layout's index cannot be read; trying for ever", reason=reason)
        is_readable = self._layout.content.is_readable()
        self._inventory.set_availability(
            Availability(is_connected=False, is_readable=is_readable, reason=reason)
        )

    async def _load(self, records: list[ImageRecord]) -> None:
        held = self._inventory.blobs
        try:
            await in_thread(
                lambda: self._manifests.load(
                    [record.target.digest for record in records],
                    is_held=held.__contains__,
                    read=self._layout.content.read_manifest,
                )
            )
        except ContentStoreUnavailableError as exc:
            # Looked at again at the next turn.
            log.debug("manifests cannot be read", reason=str(exc))

    async def _run_verifier(self) -> None:
        while True:
            self._has_doubts = trio.Event()
            while self._doubted:
                await self._verify(*next(iter(self._doubted.items())))
            await self._has_doubts.wait()

    async def _verify(self, digest: Digest, doubt: int) -> None:
        size = None
        try:
            size = await trio.to_thread.run_sync(self._layout.verified_size, digest, abandon_on_cancel=True)
        except OSError as exc:
            log.warning("a blob cannot be read", digest=str(digest), reason=str(exc))
        if self._doubted.get(digest) != doubt:
            # Written again meanwhile, or replaced by our own: what was hashed is not what is there.
            return
        del self._doubted[digest]
        if size is not None:
            self._add(digest, size)
        elif self.may_be_there(digest):
            log.info("a file in blobs/ is not what its name says; not shared", digest=str(digest))

    def _on_arrival(self, digest: Digest) -> None:
        size = self._layout.sealed_size(digest)
        if size is not None:
            self._doubted.pop(digest, None)
            self._add(digest, size)
        else:
            self.doubt(digest)

    def may_be_there(self, digest: Digest) -> bool:
        """Return whether there is a file of a blob, or nobody can tell; one look at a directory.

        What most requests ask for is not here, and a worker thread costs ten times as much as the look.
        """
        try:
            return self._layout.content.blob_size(digest) is not None
        except OSError:
            # Nobody knows.
            return True

    def _on_file(self, name: str) -> None:
        if name == INDEX_NAME:
            self._woken.set()

    def _add(self, digest: Digest, size: int) -> None:
        if self._inventory.add_blob(digest, size):
            self._judge([digest])
        self.ingests.settle(digest)

    def _judge(self, digests: Sequence[Digest]) -> None:
        for name in self._images.affected_by(digests):
            if not self._images.judge(name):
                self._woken.set()
