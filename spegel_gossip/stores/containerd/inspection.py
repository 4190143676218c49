"""Finds blobs that arrived whole and wrong, and throws them away.

containerd verifies a blob when it commits it. What fails goes with the client's lease,
or, where that lives on, stays behind as an ingest at its full size: every later pull of
it then finds nothing left to fetch and fails, until somebody aborts the ingest. Either
way nobody but us knows that the bytes came from a peer, who will send them again. The
hash decides, never the fate of the ingest alone: a commit may be slow, a client may
leave, and one wrong layer takes its innocent siblings with it. So each ingest's file is
kept open, and can be read when it is gone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
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
from spegel_gossip.stores.files.content_root import ContentRoot
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

MAX_OPEN: Final = 256
"""Ingests kept open; a node pulls a few at a time, and what is beyond this is judged only if it stays."""

MAX_WAITING: Final = 64
"""Ingests that went at their full size and wait to be hashed; the rest is not judged."""

_Version = tuple[str, int]
"""An ingest by its id and by when its data was last written."""


class Inspector:
    """Hashes ingests that rest at full size, or went at full size without a commit."""

    def __init__(self, link: Link, on_wrong_blob: Callable[[Digest], None]) -> None:
        """Take whom to tell of a blob whose bytes are wrong; it is told before the ingest goes."""
        self._link = link
        self._on_wrong_blob = on_wrong_blob
        self._open: dict[str, int] = {}
        self._gone_send, self._gone = trio.open_memory_channel[tuple[Digest, int]](MAX_WAITING)
        self._resting_since: dict[_Version, float] = {}
        self._verdicts: dict[_Version, bool] = {}

    def data_came(self, root: ContentRoot, ingest: Ingest) -> None:
        """Keep an ingest's file open."""
        if len(self._open) < MAX_OPEN:
            with suppress(OSError):
                self._open[ingest.id] = os.open(root.ingest_data(ingest.id), os.O_RDONLY | os.O_CLOEXEC)

    def data_went(self, ingest: Ingest, *, is_committed: bool) -> None:
        """Let an ingest's file go, or have it hashed where it was full and was not committed."""
        descriptor = self._open.pop(ingest.id, -1)
        if descriptor < 0:
            return
        is_judged = any(ingest_id == ingest.id for ingest_id, _ in self._verdicts)
        if not (is_committed or is_judged) and 0 < ingest.total <= os.fstat(descriptor).st_size:
            with suppress(trio.WouldBlock):
                self._gone_send.send_nowait((ingest.digest, descriptor))
                return
        os.close(descriptor)

    async def run(self, ingests: Ingests, disk: DiskWatch) -> None:
        """Look until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._judge_gone)
                while True:
                    await trio.sleep(LOOK_INTERVAL)
                    await self._look(ingests, disk, trio.current_time())
        finally:
            self._close()

    async def _judge_gone(self) -> None:
        async for digest, descriptor in self._gone:
            # Owned by the thread from here on, which also closes it.
            if await self._is_right(descriptor, digest) is False:
                self._condemn(digest)

    def _condemn(self, digest: Digest) -> None:
        metrics.WRONG_BLOBS.inc()
        log.warning("a blob arrived whole and wrong; those who sent it are to blame", digest=str(digest))
        self._on_wrong_blob(digest)

    def _close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
        with suppress(trio.WouldBlock):
            while True:
                os.close(self._gone.receive_nowait()[1])

    async def _look(self, ingests: Ingests, disk: DiskWatch, now: float) -> None:
        root = disk.root
        if root is None:
            return  # only the disk shows an ingest's bytes
        resting: dict[_Version, Ingest] = {}
        for ingest in ingests.complete():
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
            self._condemn(ingest.digest)
        try:
            await self._link.ask(partial(_abort, digest=ingest.digest))
        except ContentStoreUnavailableError as exc:
            log.warning("a wrong ingest could not be aborted; trying again", reason=str(exc))

    async def _is_right(self, file: Path | int, digest: Digest) -> bool | None:
        """Return whether a file has a digest; None if it went meanwhile."""
        try:
            return await trio.to_thread.run_sync(_has_digest, file, digest)
        except OSError as exc:
            log.debug("an ingest could not be read to its end", digest=str(digest), reason=str(exc))
            return None


def _has_digest(file: Path | int, digest: Digest) -> bool:
    whole = hashlib.new(digest.algorithm)
    with open(file, "rb", buffering=0) as content:  # noqa: PTH123 # a descriptor, or a path
        while data := content.read(HASH_STEP):
            whole.update(data)
            trio.from_thread.check_cancelled()
    return whole.hexdigest() == digest.hex


def _abort(service: ContainerdService, *, digest: Digest) -> None:
    for record in service.ingests():
        if digest_of_ref(record.ref) == digest and 0 < record.total <= record.offset:
            service.abort(record.ref)
