"""Which tags may be promised: those whose whole image is here.

Every image is judged again when a blob that decided its verdict comes or goes, so
a tag appears with the last layer and disappears with the first that is collected.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import structlog
import trio

from spegel_gossip.content import TagChanged
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.wholeness import Wholeness, wholeness
from spegel_gossip.stores import metrics
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.manifests import ManifestCache, NotCachedError
from spegel_gossip.stores.records import ImageRecord

log = structlog.get_logger(__name__)

JUDGE_BURST = 64
"""Images judged before the other tasks get a turn: some 3 ms."""


class Images:
    """The namespace's tagged images and the verdict on each.

    Judging is synchronous and uses manifests that were read before. An image whose
    manifests are not at hand counts as not whole until somebody has read them: a
    promise too few for a moment is better than one that cannot be kept.
    """

    def __init__(self, inventory: Inventory, manifests: ManifestCache) -> None:
        self._inventory = inventory
        self._manifests = manifests
        self._records: dict[str, ImageRecord] = {}
        self._whole: dict[TagName, dict[str, ImageRecord]] = {}
        self._looked_at: dict[str, tuple[Digest, ...]] = {}
        self._resting: dict[Digest, dict[str, None]] = {}
        self._odd: dict[str, Digest] = {}
        self._unread: dict[str, None] = {}

    def put(self, record: ImageRecord) -> bool:
        """Take an image in, or its new target; return whether it must be judged."""
        if record.tag is None or self._records.get(record.name) == record:
            return False
        self._records[record.name] = record
        return True

    def remove(self, name: str) -> None:
        """Forget an image that was deleted."""
        record = self._records.pop(name, None)
        if record is not None:
            self._rest(name, ())
            self._odd.pop(name, None)
            self._unread.pop(name, None)
            self._publish(record, is_whole=False)

    def compare(self, records: Iterable[ImageRecord]) -> list[str]:
        """Make these all the images there are; return the names of those to be judged."""
        present = {record.name: record for record in records}
        for name in [name for name in self._records if name not in present]:
            self.remove(name)
        return [name for name, record in present.items() if self.put(record)]

    def unread(self) -> list[str]:
        """Return the names of the images that wait for somebody to read their manifests."""
        return list(self._unread)

    def affected_by(self, digests: Iterable[Digest]) -> list[str]:
        """Return the names of the images whose verdict may change with these blobs."""
        names: dict[str, None] = {}
        for digest in digests:
            names |= self._resting.get(digest, {})
        return list(names)

    def judge(self, name: str) -> bool:
        """Judge one image by what is known; return False if its manifests must be read first."""
        self._unread.pop(name, None)
        record = self._records.get(name)
        if record is None:
            return True
        held = self._inventory.blobs.__contains__
        try:
            verdict = wholeness(record.target.digest, is_held=held, manifest=self._manifests.peek)
        except NotCachedError:
            self._unread[name] = None
            self._publish(record, is_whole=False)
            return False
        except InvalidManifestError as exc:
            verdict = self._skip(record, str(exc))
        self._rest(name, verdict.looked_at)
        self._publish(record, is_whole=verdict.is_whole)
        return True

    async def judge_all(
        self, names: Iterable[str], load: Callable[[list[ImageRecord]], Awaitable[None]]
    ) -> None:
        """Judge many images, a few at a time; `load` reads the manifests of those that need it."""
        remaining = iter(dict.fromkeys(names))
        while batch := list(islice(remaining, JUDGE_BURST)):
            unread = [name for name in batch if not self.judge(name)]
            records = [record for name in unread if (record := self._records.get(name)) is not None]
            if records:
                await load(records)
                for record in records:
                    self.judge(record.name)
            await trio.lowlevel.checkpoint()

    def _skip(self, record: ImageRecord, reason: str) -> Wholeness:
        if self._odd.get(record.name) != record.target.digest:
            self._odd[record.name] = record.target.digest
            metrics.IMAGES_SKIPPED.inc()
            log.warning("image skipped: it is not shared", image=record.name[:200], reason=reason)
        return Wholeness(is_whole=False, looked_at=(record.target.digest,))

    def _rest(self, name: str, digests: tuple[Digest, ...]) -> None:
        for digest in self._looked_at.pop(name, ()):
            names = self._resting.get(digest, {})
            names.pop(name, None)
            if not names:
                self._resting.pop(digest, None)
        if digests:
            self._looked_at[name] = digests
        for digest in digests:
            self._resting.setdefault(digest, {})[name] = None

    def _publish(self, record: ImageRecord, *, is_whole: bool) -> None:
        tag = record.tag
        if tag is None:
            return
        # Two names may be one tag (index.docker.io and docker.io): the newer one speaks.
        whole = self._whole.setdefault(tag, {})
        if is_whole:
            whole[record.name] = record
        else:
            whole.pop(record.name, None)
        if whole:
            newest = max(whole.values(), key=lambda one: (one.updated_at, one.name))
            self._inventory.set_tag(TagChanged(tag, newest.target, newest.updated_at))
        else:
            del self._whole[tag]
            self._inventory.remove_tag(tag)
