"""Puts blobs and tags into a layout: what the registry client pulls, node running or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.collection import DEFAULT_GRACE, Collected, collect
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.image_index import ImageIndex
from spegel_gossip.stores.layout.ingest_file import IngestFile, open_ingest_file
from spegel_gossip.stores.layout.locks import in_thread, locked, patiently
from spegel_gossip.stores.records import digest_of_ref


class LayoutIngest:
    """A `content.Ingest` whose work is done in worker threads, one step at a time."""

    def __init__(self, file: IngestFile) -> None:
        self._file = file

    @property
    def offset(self) -> int:
        """Bytes that are here and hashed."""
        return self._file.offset

    @property
    def total(self) -> int:
        """The full size in bytes; 0 if unknown."""
        return self._file.total

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        await in_thread(partial(self._file.write, data))

    async def commit(self) -> None:
        """Verify, sync, and make it a held blob."""
        await in_thread(self._file.commit)

    async def abort(self) -> None:
        """Give it up, and its bytes."""
        await in_thread(self._file.abort)

    async def keep(self) -> None:
        """Stop here, to be resumed."""
        await in_thread(self._file.keep)


class LayoutWriter:
    """A `content.ContentWriter` into one image layout. Any number of them, in any process, get along."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        """Take where it is; nothing is touched before `create`.

        Args:
            root: the layout's directory
            clock: unix seconds
        """
        self._layout = LayoutDirectory(root)
        self._clock = clock

    async def create(self) -> None:
        """Make the layout if it is not there yet.

        Raises:
            ContentStoreUnavailableError: the directory holds something else, or cannot be written.
        """
        await patiently(self._layout.create)

    async def open_ingest(self, ref: str, digest: Digest, total: int) -> LayoutIngest | None:
        """Begin to put a blob in, or resume; None if it is held."""
        if digest_of_ref(ref) != digest:
            raise ValueError(f"the ref {ref!r} does not end with {digest}")
        file = await patiently(partial(open_ingest_file, self._layout, ref, digest, total))
        if file is None:
            return None
        try:
            # A step at a time, so that Ctrl-C need not wait for gigabytes to be hashed.
            while not await in_thread(file.rehash):
                pass
        except BaseException:
            file.keep()
            raise
        return LayoutIngest(file)

    async def tag(self, name: TagName, target: Descriptor) -> None:
        """Let a tag name a held manifest or index."""
        if not await patiently(partial(self._layout.touch_held, target.digest)):
            raise ContentNotFoundError(target.digest)
        await self._change(lambda index: index.with_tag(name, target, self._clock()))

    async def untag(self, name: TagName) -> None:
        """Forget a tag."""
        await self._change(lambda index: index.without_tag(name))

    async def gc(self, *, grace: float = DEFAULT_GRACE) -> Collected:
        """Remove the blobs that no entry of the index reaches, and the ingests that were left behind.

        Args:
            grace: seconds for which content is safe that was put in or asked for since, but
                not tagged yet

        Raises:
            ContentStoreUnavailableError: the layout cannot be read or written; nothing is half done.
        """
        return await patiently(partial(collect, self._layout, before=self._clock() - grace))

    async def _change(self, change: Callable[[ImageIndex], ImageIndex]) -> None:
        def work() -> None:
            with locked(self._layout.path):
                self._layout.change_index(change)

        await patiently(work)
