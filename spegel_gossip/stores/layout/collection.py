"""`gc`: what nothing names goes, what somebody may still need stays.

Stays: everything that an entry of `index.json` reaches; what is young, since whoever
put it in has yet to tag it; what ingests will become; and, of all these, the images
they belong to, with their other parts: a pull may take longer than the grace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidManifestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES, parse_manifest_untrusted
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.ingest_file import remove_ingest
from spegel_gossip.stores.layout.locks import LockedError, lock_directory, locked

DEFAULT_GRACE = 3_600.0
"""Seconds for which what was put in or asked for is safe without a tag: longer than most pulls."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed."""

    blobs: tuple[Digest, ...]
    bytes: int
    ingests: tuple[str, ...]


def collect(layout: LayoutDirectory, *, before: float) -> Collected:
    """Remove what nothing needs and nobody touched since `before`, unix seconds.

    Raises:
        LockedError: somebody else changes the layout; try again.
        ContentStoreUnavailableError: it is no layout, or `index.json` cannot be read; nothing was removed.
        OSError: the disk failed.
    """
    # Nobody tags meanwhile, nor learns that a blob is held which is about to go.
    with locked(layout.path):
        layout.check()
        roots = [entry.target.digest for entry in layout.read_index().entries]
        arriving, ingests = _collect_ingests(layout, before)
        blobs = _stats(layout)
        young = [digest for digest, status in blobs.items() if status.st_mtime >= before]
        needed = _reachable(layout, blobs, [*roots, *young, *arriving], wanted=[*young, *arriving])
        doomed = sorted(digest for digest in blobs if digest not in needed)
        for digest in doomed:
            Path(layout.content.blob_path(digest)).unlink(missing_ok=True)
    return Collected(tuple(doomed), sum(blobs[digest].st_size for digest in doomed), tuple(ingests))


def _stats(layout: LayoutDirectory) -> dict[Digest, os.stat_result]:
    found = {}
    for digest in sorted(layout.content.digests()):
        with suppress(FileNotFoundError):
            found[digest] = Path(layout.content.blob_path(digest)).stat()
    return found


def _collect_ingests(layout: LayoutDirectory, before: float) -> tuple[list[Digest], list[str]]:
    """Remove the old ingests that nobody writes; return what the others become, and the removed ids."""
    staying: list[Digest] = []
    removed: list[str] = []
    for path in sorted(layout.content.ingests.iterdir()) if layout.content.ingests.is_dir() else ():
        try:
            lock = lock_directory(path)
        except (LockedError, FileNotFoundError, NotADirectoryError):
            staying.extend(_digest_of_id(path.name))
            continue
        try:
            if _touched_at(path) >= before:
                staying.extend(_digest_of_id(path.name))
                continue
            with suppress(OSError):
                remove_ingest(path)
                removed.append(path.name)
        finally:
            os.close(lock)
    return staying, removed


def _touched_at(path: Path) -> float:
    times = [path.stat().st_mtime]
    with suppress(FileNotFoundError):
        times.append((path / "data").stat().st_mtime)
    return max(times)


def _digest_of_id(ingest_id: str) -> list[Digest]:
    try:
        return [Digest.parse(ingest_id.replace("-", ":", 1))]
    except InvalidDigestError:
        return []


def _reachable(
    layout: LayoutDirectory,
    blobs: dict[Digest, os.stat_result],
    roots: Iterable[Digest],
    wanted: Iterable[Digest],
) -> dict[Digest, None]:
    """Return what the roots reach, and the images that name something of `wanted`, with all their parts."""
    parts = {digest: _parts(layout, digest, status.st_size) for digest, status in blobs.items()}
    upwards = dict.fromkeys(wanted)
    grows = True
    while grows:
        found = [
            digest
            for digest, children in parts.items()
            if digest not in upwards and any(child in upwards for child in children)
        ]
        upwards |= dict.fromkeys(found)
        grows = bool(found)
    reached: dict[Digest, None] = {}
    waiting = [*roots, *upwards]
    while waiting:
        digest = waiting.pop()
        if digest not in reached:
            reached[digest] = None
            waiting.extend(parts.get(digest, ()))
    return reached


def _parts(layout: LayoutDirectory, digest: Digest, size: int) -> tuple[Digest, ...]:
    """Return what a blob names as its parts, if it is a manifest."""
    if size > MAX_MANIFEST_BYTES:
        return ()
    try:
        with os.fdopen(layout.content.open_blob(digest), "rb") as file:
            # Most blobs are archives: one byte tells.
            head = file.read(1)
            if head != b"{" and not head.isspace():
                return ()
            manifest = parse_manifest_untrusted(head + file.read(MAX_MANIFEST_BYTES))
    except (InvalidManifestError, FileNotFoundError):
        return ()
    return tuple(child.digest for child in manifest.children)
