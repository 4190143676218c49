"""Finds blobs that arrived whole and wrong, and throws them away.

containerd verifies a blob when it commits it. One that fails stays behind as an ingest
at its full size, and every later pull of it finds nothing left to fetch and fails, until
somebody aborts the ingest. Nobody but us knows that, and that it came from a peer. The
hash decides, never the stuck commit alone: a commit may be slow, and a good blob is not
thrown away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio
import trio.from_thread

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.containerd import metrics
from spegel_gossip.stores.containerd.link import Link
from spegel_gossip.stores.containerd.service import ContainerdService
from spegel_gossip.stores.files.disk import DiskWatch
from spegel_gossip.stores.files.ingests import Ingest, Ingests
from spegel_gossip.stores.records import digest_of_ref

log = structlog.get_logger(__name__)

LOOK_INTERVAL: Final = 1.0
"""Seconds between looks at the ingests; a look is a walk over the few that are open."""

REST_TIMEOUT: Final = 5.0
"""Seconds at full size, neither committed nor growing, after which an ingest is hashed."""

HASH_STEP: Final = 4 << 20
"""Bytes hashed between two looks at whether we are to stop."""

_Version = tuple[str, int]
"""An ingest by its id and by when its data was last written."""


class Inspector:
    """Hashes ingests that rest at full size."""

    def __init__(
        self, link: Link, ingests: Ingests, disk: DiskWatch, on_wrong_blob: Callable[[Digest], None]
    ) -> None:
        """Take whom to tell of a blob whose bytes are wrong; it is told before the ingest goes."""
        self._link = link
        self._ingests = ingests
        self._disk = disk
        self._on_wrong_blob = on_wrong_blob
        self._resting_since: dict[_Version, float] = {}
        self._verdicts: dict[_Version, bool] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(LOOK_INTERVAL)
            await self._look(trio.current_time())

    async def _look(self, now: float) -> None:
        root = self._disk.root
        if root is None:
            return  # only the disk shows an ingest's bytes
        resting: dict[_Version, Ingest] = {}
        for ingest in self._ingests.complete():
            path = root.ingest_data(ingest.id)
            try:
                resting[ingest.id, path.stat().st_mtime_ns] = ingest
            except OSError:
                continue  # committed or aborted
        self._resting_since = {version: self._resting_since.get(version, now) for version in resting}
        self._verdicts = {version: right for version, right in self._verdicts.items() if version in resting}
        for version, ingest in resting.items():
            if self._resting_since[version] + REST_TIMEOUT <= now and not self._verdicts.get(version):
                await self._inspect(version, ingest, root.ingest_data(ingest.id))

    async def _inspect(self, version: _Version, ingest: Ingest, path: Path) -> None:
        if version not in self._verdicts:
            right = await self._is_right(path, ingest.digest)
            if right is None:
                return
            self._verdicts[version] = right
            if right:
                return
            metrics.WRONG_BLOBS.inc()
            log.warning(
                "a blob arrived whole and wrong; its ingest is thrown away so that the next pull can succeed",
                digest=str(ingest.digest),
                bytes=ingest.total,
            )
            self._on_wrong_blob(ingest.digest)
        try:
            await self._link.ask(partial(_abort, digest=ingest.digest))
        except ContentStoreUnavailableError as exc:
            log.warning("a wrong ingest could not be aborted; trying again", reason=str(exc))

    async def _is_right(self, path: Path, digest: Digest) -> bool | None:
        """Return whether a file has a digest; None if it went meanwhile."""
        try:
            return await trio.to_thread.run_sync(_has_digest, path, digest)
        except OSError as exc:
            log.debug("an ingest could not be read to its end", path=str(path), reason=str(exc))
            return None


def _has_digest(path: Path, digest: Digest) -> bool:
    whole = hashlib.new(digest.algorithm)
    with path.open("rb", buffering=0) as file:
        while data := file.read(HASH_STEP):
            whole.update(data)
            trio.from_thread.check_cancelled()
    return whole.hexdigest() == digest.hex


def _abort(service: ContainerdService, *, digest: Digest) -> None:
    for record in service.ingests():
        if digest_of_ref(record.ref) == digest and 0 < record.total <= record.offset:
            service.abort(record.ref)
