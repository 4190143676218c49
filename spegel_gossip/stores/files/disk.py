"""Watches the content root: blobs that come and go, ingests that grow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores import metrics
from spegel_gossip.stores.files.content_root import (
    ALGORITHMS,
    INGEST_DATA,
    MAX_INGESTS,
    ContentRoot,
    digest_of_file,
)
from spegel_gossip.stores.files.ingests import Ingests
from spegel_gossip.stores.files.inotify import FileEvent, Inotify, Mask

log = structlog.get_logger(__name__)

BATCH_INTERVAL = 0.02
"""Seconds between two readings of the kernel's queue: a download at full speed writes a thousand
times a second, and each batch costs one look at each ingest."""

RESCAN_INTERVAL = 1.0
"""Seconds between looks at a root that is not there (yet), or that the kernel gives no watches for."""

_DIRECTORY = Mask.CREATE | Mask.MOVED_TO | Mask.DELETE | Mask.MOVED_FROM
_FILES = _DIRECTORY | Mask.CLOSE_WRITE
_INGEST = _FILES | Mask.MODIFY
_GONE = Mask.DELETE | Mask.MOVED_FROM
_DIRECTORIES = ("blobs", "ingest")


@dataclass(frozen=True, slots=True)
class DiskNews:
    """Whom to tell; all of it is synchronous."""

    on_watching: Callable[[], None]
    """From now on nothing is missed; what happened before must be compared."""

    on_arrival: Callable[[Digest], None]
    """A file was moved into `blobs/` in one piece; in containerd's store, only containerd knows whose."""

    on_removal: Callable[[list[Digest]], None]
    """Files disappeared from `blobs/`."""

    on_written_in_place: Callable[[Digest], None]
    """A file in `blobs/` was begun or closed by a writer: nobody says that it is whole."""

    on_file: Callable[[str], None]
    """A file right beneath the root, by its name, came, went, or was written."""


class DiskWatch:
    """Follows one content root at a time, with inotify, or by looking where there is none to be had."""

    def __init__(self, ingests: Ingests, news: DiskNews) -> None:
        """Prepare; nothing is watched before `run`.

        Args:
            ingests: is told of every ingest that opens, grows or ends
            news: is told of blobs
        """
        self._ingests = ingests
        self._news = news
        self._root: ContentRoot | None = None
        self._seen: set[Digest] | None = None
        self._turn = trio.CancelScope()

    @property
    def root(self) -> ContentRoot | None:
        """The root that is watched, and that blobs are read from."""
        return self._root

    def follow(self, root: ContentRoot | None) -> None:
        """Watch another root, or none."""
        if (root and root.path) != (self._root and self._root.path):
            self._root = root
            self._seen = None
            self._ingests.clear()
            self._turn.cancel()

    async def run(self) -> None:
        """Watch until cancelled, through everything that can happen to the directory."""
        while True:
            with trio.CancelScope() as self._turn:
                if self._root is None:
                    await trio.sleep_forever()
                else:
                    await self._watch(self._root)
                    try:
                        self._look(self._root)
                    except OSError as exc:
                        log.debug("content root cannot be listed", root=str(self._root.path), reason=str(exc))
                    await trio.sleep(RESCAN_INTERVAL)

    async def _watch(self, root: ContentRoot) -> None:
        try:
            inotify = Inotify()
        except OSError as exc:
            log.debug("no inotify instance to be had", reason=str(exc))
            return
        try:
            await _until_made(inotify, root.path)
            await _Watches(inotify, root, self._ingests, self._news).follow()
        except OSError as exc:
            # The root is not there, or there are no more watches to be had.
            log.debug("content root cannot be watched", root=str(root.path), reason=str(exc))
        finally:
            inotify.close()

    def _look(self, root: ContentRoot) -> None:
        self._ingests.scan(root)
        present = root.digests()
        if self._seen is not None:
            for digest in present - self._seen:
                self._news.on_arrival(digest)
            self._news.on_removal(sorted(self._seen - present))
        self._seen = present


async def _until_made(inotify: Inotify, path: Path) -> None:
    """Return when a directory is there, or when nobody would see it come.

    Raises:
        OSError: the directory that it is to be made in is not there either.
    """
    if os.access(path, os.F_OK):
        return
    watch = inotify.watch(path.parent, Mask.CREATE | Mask.MOVED_TO | Mask.MOVE_SELF)
    while not os.access(path, os.F_OK):
        await inotify.wait()
        if any(event.mask & (Mask.IGNORED | Mask.MOVE_SELF) for event in inotify.read()):
            break
    inotify.forget(watch)


class _Watches:
    """The watches of one inotify instance on one root."""

    def __init__(self, inotify: Inotify, root: ContentRoot, ingests: Ingests, news: DiskNews) -> None:
        self._inotify = inotify
        self._root = root
        self._ingests = ingests
        self._news = news
        self._top = inotify.watch(root.path, _FILES | Mask.MOVE_SELF)
        self._ingests_top = -1
        self._algorithms: dict[int, str] = {}
        self._ids: dict[int, str] = {}

    async def follow(self) -> None:
        """Read news until the root's directory itself is gone."""
        self._watch_all()
        while True:
            await self._inotify.wait()
            await trio.sleep(BATCH_INTERVAL)
            if not self._handle(list(self._inotify.read())):
                return

    def _watch_all(self) -> None:
        # Each directory is watched before it is listed, so nothing falls in between;
        # what is seen twice is the same news.
        self._ingests_top = self._watch_if_there(self._root.ingests, _DIRECTORY)
        for ingest_id in self._ingests.scan(self._root):
            self._watch_ingest(ingest_id)
        self._watch_if_there(self._root.blobs, _DIRECTORY)
        for algorithm in ALGORITHMS:
            self._watch_blobs(algorithm)
        self._news.on_watching()

    def _watch_if_there(self, path: Path, mask: int) -> int:
        try:
            return self._inotify.watch(path, mask)
        except FileNotFoundError:
            return -1

    def _watch_blobs(self, algorithm: str) -> None:
        watch = self._watch_if_there(self._root.blobs / algorithm, _FILES)
        if watch >= 0:
            self._algorithms[watch] = algorithm

    def _watch_ingest(self, ingest_id: str) -> None:
        if len(self._ids) >= MAX_INGESTS:
            return
        try:
            watch = self._inotify.watch(self._root.ingests / ingest_id, _INGEST)
        except (FileNotFoundError, NotADirectoryError):
            return
        self._ids[watch] = ingest_id
        self._ingests.refresh(self._root, ingest_id)

    def _handle(self, events: list[FileEvent]) -> bool:
        changed: dict[str, None] = {}
        left: dict[str, None] = {}
        removed: dict[Digest, None] = {}
        for event in events:
            if Mask.QUEUE_OVERFLOW & event.mask:
                metrics.INOTIFY_OVERFLOWS.inc()
                self._watch_all()
            elif event.watch == self._top and event.mask & (Mask.IGNORED | Mask.MOVE_SELF):
                # Another directory may be in its place; a watch stays with the one that was moved.
                return False
            elif Mask.IGNORED & event.mask:
                self._ids.pop(event.watch, None)
                self._algorithms.pop(event.watch, None)
            elif event.watch in self._ids:
                ingest_id = self._ids[event.watch]
                changed[ingest_id] = None
                if event.name == INGEST_DATA and event.mask & Mask.CLOSE_WRITE:
                    left[ingest_id] = None
                elif event.name == INGEST_DATA:
                    left.pop(ingest_id, None)
            elif event.watch in self._algorithms:
                self._handle_blob(event, removed)
            else:
                self._handle_directory(event)
        self._news.on_removal([digest for digest in removed if self._root.blob_size(digest) is None])
        for ingest_id in changed:
            self._ingests.refresh(self._root, ingest_id)
        for ingest_id in left:
            self._ingests.left(self._root, ingest_id)
        return True

    def _handle_blob(self, event: FileEvent, removed: dict[Digest, None]) -> None:
        digest = digest_of_file(self._algorithms[event.watch], event.name)
        if digest is None:
            return
        if event.mask & _GONE:
            removed[digest] = None
        elif event.mask & Mask.MOVED_TO:
            self._news.on_arrival(digest)
        else:
            self._news.on_written_in_place(digest)

    def _handle_directory(self, event: FileEvent) -> None:
        is_gone = bool(event.mask & _GONE)
        if event.watch == self._ingests_top:
            if is_gone:
                self._ingests.end(self._root, event.name)
            else:
                self._watch_ingest(event.name)
        elif event.watch == self._top and event.name not in _DIRECTORIES:
            self._news.on_file(event.name)
        elif not is_gone:
            # blobs/, ingest/ or an algorithm's directory was made: the first pull into a fresh
            # store. What lies in it already had no watch when it came.
            self._watch_all()
            for digest in sorted(self._root.digests()):
                if event.name in ("blobs", digest.algorithm):
                    self._news.on_written_in_place(digest)
