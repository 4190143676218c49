"""Follows containerd through every loss: connects, compares everything, then listens.

One task owns the connection and is the only one to add blobs; removals come from
the disk's watch, and are remembered while a comparison is under way so that its
older view does not bring them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import structlog
import trio

from spegel_gossip.content import Availability, ContentNotFoundError, ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.containerd import metrics
from spegel_gossip.stores.containerd.agenda import Agenda
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.link import Link, socket_trouble
from spegel_gossip.stores.containerd.records import ImageNews, News
from spegel_gossip.stores.containerd.service import ContainerdService, Subscription
from spegel_gossip.stores.containerd.survey import Examiner, Survey, held_size, survey
from spegel_gossip.stores.files.disk import DiskWatch
from spegel_gossip.stores.files.ingests import Ingests
from spegel_gossip.stores.images import Images
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.records import ImageRecord, tag_of

log = structlog.get_logger(__name__)

BLOB_BURST = 256
"""Blobs added or removed before the other tasks get a turn: some 2 ms."""

COLLECTION_INTERVAL = 10.0
"""Seconds after an image was deleted until everything is compared: by then its content is collected,
and where another namespace keeps the files, only containerd's list tells that they are ours no more."""

INGEST_POLL_INTERVAL = 2.0
"""Seconds between lists of the ingests where the content root cannot be watched."""

NAMESPACE_POLL_INTERVAL = 10.0
"""Seconds between comparisons while the namespace does not exist; it comes with its first image."""


class Follower:
    """Keeps the inventory true to containerd."""

    def __init__(
        self,
        config: ContainerdConfig,
        link: Link,
        inventory: Inventory,
        images: Images,
        examiner: Examiner,
        ingests: Ingests,
        disk: DiskWatch,
        agenda: Agenda,
    ) -> None:
        self._config = config
        self._link = link
        self._inventory = inventory
        self._images = images
        self._examiner = examiner
        self._ingests = ingests
        self._disk = disk
        self._agenda = agenda
        self._removed_meanwhile: dict[Digest, None] | None = None
        self._stream_failure: ContentStoreUnavailableError | None = None
        self._was_connected = False

    def remove_blobs(self, digests: Sequence[Digest]) -> None:
        """Take note at once that blobs are gone, and with them the tags that rest on them."""
        if self._removed_meanwhile is not None:
            self._removed_meanwhile |= dict.fromkeys(digests)
        gone = [digest for digest in digests if self._inventory.remove_blob(digest)]
        for name in self._images.affected_by(gone):
            if not self._images.judge(name):
                self._agenda.examine(name)

    async def run(self) -> None:
        """Follow until cancelled."""
        retry = self._config.min_retry_interval
        try:
            while True:
                try:
                    service = await self._link.connect()
                    while True:
                        await self._follow_one_subscription(service)
                        # A containerd that ends every subscription at once must not keep us spinning.
                        await trio.sleep(self._config.min_retry_interval)
                except ContentStoreUnavailableError as exc:
                    # grpc's own words for a lost socket tell an operator nothing.
                    self._lost(socket_trouble(self._config.address) or str(exc))
                if self._was_connected:
                    self._was_connected = False
                    retry = self._config.min_retry_interval
                await trio.sleep(retry)
                retry = min(2 * retry, self._config.max_retry_interval)
        finally:
            self._link.cut("the store is shut down")

    async def _follow_one_subscription(self, service: ContainerdService) -> None:
        # Subscribed first, compared second: what changes in between is told by both.
        subscription = await self._link.run(service.subscribe)
        failure: ContentStoreUnavailableError | None = None
        self._stream_failure = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, subscription, nursery.cancel_scope)
            try:
                # One round trip, so that containerd has surely begun to queue for us.
                await self._link.run(service.version)
                await self._work(service)
            except ContentStoreUnavailableError as exc:
                failure = exc
            nursery.cancel_scope.cancel()
        failure = failure or self._stream_failure
        if failure is not None:
            raise failure

    async def _listen(self, subscription: Subscription, turn: trio.CancelScope) -> None:
        loop = trio.lowlevel.current_trio_token()

        def pump() -> None:
            try:
                for news in subscription.news():
                    loop.run_sync_soon(self._handle_news, news)
            except ContentStoreUnavailableError as exc:
                self._stream_failure = exc

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, subscription)
            # Has a thread of its own, outside the few: it waits for as long as the subscription lasts.
            await trio.to_thread.run_sync(pump, limiter=trio.CapacityLimiter(1))
            nursery.cancel_scope.cancel()
        turn.cancel()

    def _handle_news(self, news: News) -> None:
        root = self._disk.root
        if not self._inventory.blobs and (root is None or not root.is_readable()):
            # The first blob of all: now its list shows where containerd's content directory is to be seen.
            self._agenda.reconcile(after=0.0)
        if not isinstance(news, ImageNews):
            self._agenda.check(news.digest)
            return
        if tag_of(news.name) is not None:
            self._agenda.examine(news.name)
        if news.is_deleted:
            self._agenda.reconcile(after=COLLECTION_INTERVAL)

    async def _work(self, service: ContainerdService) -> None:
        await self._reconcile(service)
        ping_at = trio.current_time() + self._config.ping_interval
        while True:
            poll_at = math.inf if self._disk.root else trio.current_time() + INGEST_POLL_INTERVAL
            await self._agenda.wait(min(ping_at, poll_at))
            if self._agenda.is_reconcile_due():
                await self._reconcile(service)
            await self._check_blobs(service, self._agenda.due_digests())
            for name in self._agenda.due_images():
                await self._examine(service, name)
            if self._disk.root is None and trio.current_time() >= poll_at:
                self._ingests.compare(await self._link.run(service.ingests))
            if trio.current_time() >= ping_at:
                await self._link.run(service.version)
                ping_at = trio.current_time() + self._config.ping_interval

    async def _reconcile(self, service: ContainerdService) -> None:
        forgotten = self._agenda.clear()
        self._removed_meanwhile = {}
        started_at = trio.current_time()
        try:
            known = dict(self._inventory.blobs)
            result = await self._link.run(survey, service, self._config.root, known)
            self._disk.follow(result.root)
            await self._add(result.added)
        finally:
            self._removed_meanwhile = None
        for number, digest in enumerate(result.removed, start=1):
            self._inventory.remove_blob(digest)
            if number % BLOB_BURST == 0:
                await trio.lowlevel.checkpoint()
        for digest, attempt in forgotten.items():
            # The list may be older than the file, whose entry containerd has yet to write.
            is_held = digest in self._inventory.blobs
            if is_held or not self._agenda.check(digest, attempt=attempt + 1):
                self._ingests.settle(digest)
        names = [
            *self._images.compare(result.images),
            *self._images.affected_by([*result.added, *result.removed]),
            *self._images.unread(),
        ]
        await self._judge(service, names)
        metrics.RECONCILES.inc()
        metrics.RECONCILE_SECONDS.observe(trio.current_time() - started_at)
        self._connected(result, corrections=len(result.added) + len(result.removed))

    async def _add(self, blobs: dict[Digest, int]) -> None:
        for number, (digest, size) in enumerate(blobs.items(), start=1):
            if digest not in (self._removed_meanwhile or ()):
                self._inventory.add_blob(digest, size)
            self._ingests.settle(digest)
            if number % BLOB_BURST == 0:
                await trio.lowlevel.checkpoint()

    async def _check_blobs(self, service: ContainerdService, digests: dict[Digest, int]) -> None:
        if not digests:
            return
        root = self._disk.root

        def ask() -> dict[Digest, int | None]:
            return {digest: held_size(service, root, digest) for digest in digests}

        sizes = await self._link.run(ask)
        added = {
            digest: size for digest, size in sizes.items() if size is not None and self._is_there(digest)
        }
        await self._add(added)
        for digest, attempt in digests.items():
            if digest not in added and not self._agenda.check(digest, attempt=attempt + 1):
                self._ingests.settle(digest)
        await self._judge(service, self._images.affected_by(added))

    async def _examine(self, service: ContainerdService, name: str) -> None:
        try:
            seen = await self._link.run(self._examiner.examine, service, self._disk.root, name)
        except ContentNotFoundError as exc:
            # Its file went before the watch said so. Known to be gone, it cannot bring us here again.
            if isinstance(exc.what, Digest):
                self.remove_blobs([exc.what])
            self._agenda.examine(name)
            return
        added = {digest: size for digest, size in seen.found.items() if self._is_there(digest)}
        await self._add(added)
        if seen.record is None:
            self._images.remove(name)
        else:
            self._images.put(seen.record)
        await self._judge(service, [name, *self._images.affected_by(added)])

    async def _judge(self, service: ContainerdService, names: Iterable[str]) -> None:
        async def load(records: list[ImageRecord]) -> None:
            await self._link.run(self._examiner.load, service, self._disk.root, records)

        await self._images.judge_all(names, load)

    def _is_there(self, digest: Digest) -> bool:
        root = self._disk.root
        return root is None or root.blob_size(digest) is not None

    def _connected(self, result: Survey, *, corrections: int) -> None:
        reason = ""
        if self._config.namespace not in result.namespaces:
            # The first pull makes it; only where others have pulled already is it a likely mistake.
            if result.namespaces:
                reason = (
                    f"containerd has no namespace {self._config.namespace!r} (it has: "
                    f"{', '.join(result.namespaces)}): pull an image, or correct --containerd-namespace"
                )
            self._agenda.reconcile(after=NAMESPACE_POLL_INTERVAL)
        elif result.root is None:
            reason = (
                f"containerd's content cannot be read beneath {self._config.root}, so blobs go through its "
                "socket, slowly: mount the directory, or correct --containerd-root"
            )
        if self._was_connected:
            metrics.RECONCILE_CORRECTIONS.inc(corrections)
        else:
            self._was_connected = True
            log.info(
                "containerd is followed",
                address=str(self._config.address),
                blobs=len(self._inventory.blobs),
                tags=len(self._inventory.tags),
                reason=reason,
            )
        self._inventory.set_availability(Availability(is_connected=True, is_readable=True, reason=reason))

    def _lost(self, reason: str) -> None:
        self._link.cut(reason)
        for digest in self._agenda.clear():
            self._ingests.settle(digest)
        root = self._disk.root
        is_readable = root is not None and root.is_readable()
        before = self._inventory.availability
        if before.is_connected:
            metrics.LOSSES.inc()
        if before.is_connected or before.reason != reason:
            log.warning("containerd cannot be asked; trying for ever", reason=reason, is_readable=is_readable)
        self._inventory.set_availability(
            Availability(is_connected=False, is_readable=is_readable, reason=reason)
        )


async def _cancel_at_end(subscription: Subscription) -> None:
    try:
        await trio.sleep_forever()
    finally:
        subscription.cancel()
