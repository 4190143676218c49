"""Blobs that are still arriving: open ingests, as they lie on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from spegel_gossip.content import ContentNotFoundError, ContentStoreUnavailableError, PartialStatus
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.files.content_root import ContentRoot
from spegel_gossip.stores.files.readers import GrowingFile
from spegel_gossip.stores.inventory import Inventory
from spegel_gossip.stores.records import IngestRecord, digest_of_ref

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Ingest:
    """One directory beneath `ingest/`."""

    id: str
    digest: Digest
    total: int = 0
    offset: int = 0
    has_data: bool = False
    """Its data file was seen; once it is gone the ingest has ended, one way or the other."""


class IngestObserver(Protocol):
    """Somebody who wants to hold on to what an ingest was."""

    def data_came(self, root: ContentRoot, ingest: Ingest) -> None:
        """Take note that there is a data file, perhaps still empty."""

    def data_went(self, ingest: Ingest, *, is_committed: bool) -> None:
        """Take note that there is none any more; said of every file that came."""


class Ingests:
    """The open ingests of a store, by id, and by what they will become.

    A committed ingest stays a partial, at its full size, until the blob is known to
    be held: containerd renames the file first and lists it some milliseconds later,
    and in between this node must not look as if it had nothing.
    """

    def __init__(
        self,
        prefix: str,
        inventory: Inventory,
        on_commit: Callable[[Digest], None],
        observer: IngestObserver | None = None,
    ) -> None:
        """Start empty.

        Args:
            prefix: what the refs that count begin with: `<namespace>/` in containerd's store
            inventory: learns of every change
            on_commit: called when an ingest has become a file in `blobs/`
            observer: sees each ingest's data come and go
        """
        self._prefix = prefix
        self._inventory = inventory
        self._on_commit = on_commit
        self._observer = observer
        self._ingests: dict[str, Ingest] = {}
        self._of: dict[Digest, dict[str, Ingest]] = {}
        """The same by what they will become: a miss costs no look at a thousand left behind."""

        self._foreign: dict[str, None] = {}
        """Ids on disk that are known to be no business of this store's."""

        self._committing: dict[Digest, int] = {}

    def find(self, digest: Digest) -> Ingest | None:
        """Return the ingest that is furthest with a blob."""
        candidates = self._of.get(digest, {})
        return max(candidates.values(), key=lambda ingest: (ingest.offset, ingest.id), default=None)

    def open(self, root: ContentRoot, digest: Digest) -> GrowingFile:
        """Open the growing file of a blob; while it is being committed, the file it has become.

        Raises:
            ContentNotFoundError: nothing of it arrives.
            ContentStoreUnavailableError: the disk failed.
        """
        try:
            known = self._inventory.partials.get(digest)
            if known is None or known.total == 0:
                # Opened within the last hundredths of a second, or looked at before its total was written:
                # who is sent here to read it as it grows would be told that there is no such blob.
                self._look_for(root, digest)
            try:
                return self._open_known(root, digest)
            except FileNotFoundError:
                # Committed or aborted since it was last looked at.
                self._look_for(root, digest)
                return self._open_known(root, digest)
        except FileNotFoundError as exc:
            raise ContentNotFoundError(digest) from exc
        except OSError as exc:
            raise ContentStoreUnavailableError(f"an ingest cannot be opened: {exc}") from exc

    def _open_known(self, root: ContentRoot, digest: Digest) -> GrowingFile:
        ingest = self.find(digest)
        if ingest is not None:
            return GrowingFile(root, digest, root.ingest_data(ingest.id), total=ingest.total)
        if digest in self._inventory.partials:
            return GrowingFile(root, digest, root.blob_path(digest), total=0)
        raise ContentNotFoundError(digest)

    def complete(self) -> list[Ingest]:
        """Return the ingests that have all their bytes and were not committed."""
        return [ingest for ingest in self._ingests.values() if 0 < ingest.total <= ingest.offset]

    def refresh(self, root: ContentRoot, ingest_id: str) -> None:
        """Look at one ingest again, or for the first time; what cannot be read is passed over."""
        try:
            self._look_at(root, ingest_id)
        except OSError as exc:
            # One file on a bad sector, or of another user, hides no other ingest.
            log.debug("an ingest cannot be looked at", ingest=ingest_id, reason=str(exc))

    def _look_at(self, root: ContentRoot, ingest_id: str) -> None:
        ingest = self._ingests.get(ingest_id)
        if ingest is None:
            ingest = self._meet(root, ingest_id)
            if ingest is None:
                return
        if ingest.total == 0:
            # Written after the ref, so a first look may come too early for it.
            ingest.total = root.ingest_total(ingest_id)
        try:
            ingest.offset = root.ingest_size(ingest_id)
            if not ingest.has_data and self._observer is not None:
                self._observer.data_came(root, ingest)
            ingest.has_data = True
        except (FileNotFoundError, NotADirectoryError):
            if ingest.has_data:
                self.end(root, ingest_id)
                return
        self._show(ingest.digest)

    def left(self, root: ContentRoot, ingest_id: str) -> None:
        """Take note that an ingest's writer closed it: to commit it, or because the pull has ended."""
        self.refresh(root, ingest_id)
        ingest = self._ingests.get(ingest_id)
        if ingest is not None and ingest.offset < ingest.total and ingest is self.find(ingest.digest):
            self._inventory.leave_partial(ingest.digest)

    def end(self, root: ContentRoot, ingest_id: str) -> None:
        """Take note that an ingest's data or directory is gone: committed or aborted."""
        self._foreign.pop(ingest_id, None)
        ingest = self._ingests.pop(ingest_id, None)
        if ingest is None:
            return
        self._of[ingest.digest].pop(ingest_id)
        if not self._of[ingest.digest]:
            del self._of[ingest.digest]
        size = root.blob_size(ingest.digest)
        if ingest.has_data and self._observer is not None:
            self._observer.data_went(ingest, is_committed=size is not None)
        if size is not None and ingest.digest not in self._inventory.blobs:
            self._committing[ingest.digest] = size
            self._on_commit(ingest.digest)
        self._show(ingest.digest)

    def settle(self, digest: Digest) -> None:
        """Take note that the commit is known to have succeeded, or will never be."""
        if self._committing.pop(digest, None) is not None:
            self._show(digest)

    def scan(self, root: ContentRoot) -> list[str]:
        """Look at all ingests; return the ids of those on disk."""
        present = root.ingest_ids()
        on_disk = frozenset(present)
        for ingest_id in [known for known in (*self._ingests, *self._foreign) if known not in on_disk]:
            self.end(root, ingest_id)
        for ingest_id in present:
            self.refresh(root, ingest_id)
        return present

    def _look_for(self, root: ContentRoot, digest: Digest) -> None:
        """Look at the ingests of one blob, and at those that were never seen."""
        present = dict.fromkeys(root.ingest_ids())
        for ingest_id in list(self._of.get(digest, ())):
            if ingest_id not in present:
                self.end(root, ingest_id)
        known = self._of.get(digest, {})
        for ingest_id in present:
            is_new = ingest_id not in self._ingests and ingest_id not in self._foreign
            if is_new or ingest_id in known:
                self.refresh(root, ingest_id)

    def _meet(self, root: ContentRoot, ingest_id: str) -> Ingest | None:
        """Take in an ingest that was never seen; None if it is none of this store's, or not written yet."""
        if ingest_id in self._foreign:
            return None
        ref = root.ingest_ref(ingest_id)
        digest = None if ref is None or not ref.startswith(self._prefix) else digest_of_ref(ref)
        if digest is not None:
            ingest = self._ingests[ingest_id] = Ingest(ingest_id, digest)
            self._of.setdefault(digest, {})[ingest_id] = ingest
            return ingest
        if ref is not None and root.ingest_data(ingest_id).exists():
            # The data file is made last: the ref is whole, and will be no other.
            self._foreign[ingest_id] = None
        return None

    def compare(self, records: list[IngestRecord]) -> None:
        """Make these all the ingests there are, where the disk cannot be read."""
        found = {
            record.ref: Ingest(record.ref, digest, record.total, record.offset)
            for record in records
            if (digest := digest_of_ref(record.ref)) is not None
        }
        changed = [ingest.digest for ingest in (*self._ingests.values(), *found.values())]
        self._ingests, self._of = found, {}
        for ingest in found.values():
            self._of.setdefault(ingest.digest, {})[ingest.id] = ingest
        for digest in dict.fromkeys(changed):
            self._show(digest)

    def clear(self) -> None:
        """Forget everything: the disk is out of sight."""
        changed = [*(ingest.digest for ingest in self._ingests.values()), *self._committing]
        for ingest in self._ingests.values():
            if ingest.has_data and self._observer is not None:
                # Nobody can say what becomes of it, so it is not to be judged.
                self._observer.data_went(ingest, is_committed=True)
        self._ingests.clear()
        self._of.clear()
        self._foreign.clear()
        self._committing.clear()
        for digest in dict.fromkeys(changed):
            self._show(digest)

    def _show(self, digest: Digest) -> None:
        committing = self._committing.get(digest)
        ingest = self.find(digest)
        if committing is not None:
            self._inventory.set_partial(digest, PartialStatus(committing, committing))
        elif ingest is not None:
            self._inventory.set_partial(digest, PartialStatus(ingest.offset, ingest.total))
        else:
            self._inventory.set_partial(digest, None)
