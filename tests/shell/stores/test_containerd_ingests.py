import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from shell.stores.conformance import Witness
from shell.stores.fake_containerd import FakeContainerd
from spegel_gossip.content import ContentNotFoundError, PartialChanged, PartialRemoved, PartialStatus
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.containerd import agenda
from spegel_gossip.stores.containerd.store import ContainerdStore
from spegel_gossip.stores.files import disk

DATA = b"the bytes of a layer"
DIGEST = Digest.of(DATA)


class Shelf:
    """A store over the directory of a containerd that never answers: ingests need only the disk."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.containerd = FakeContainerd(directory)
        self.store = ContainerdStore(self.containerd.config())
        self.witness = Witness()
        self._nursery = nursery

    async def follow(self, reason: str = "start containerd") -> None:
        self._nursery.start_soon(self.store.run, self.witness.emit)
        await self.witness.until(lambda: reason in self.store.availability().reason)

    def ingest(self, name: str, ref: str, *, total: int | None = None, data: bytes | None = None) -> Path:
        directory = self.containerd.content / "ingest" / name
        directory.mkdir()
        (directory / "ref").write_text(ref)
        if total is not None:
            (directory / "total").write_text(f"{total}")
        if data is not None:
            (directory / "data").write_bytes(data)
        return directory

    async def until_status(self, status: PartialStatus | None) -> None:
        await self.witness.until(lambda: self.witness.partials.get(DIGEST) == status)

    def commit(self, directory: Path) -> None:
        (directory / "data").rename(self.containerd.content / "blobs" / "sha256" / DIGEST.hex)
        self.remove(directory)

    def remove(self, directory: Path) -> None:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


@pytest.fixture
async def shelf(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Shelf]:
    shelf = Shelf(tmp_path, nursery)
    yield shelf
    nursery.cancel_scope.cancel()
    shelf.containerd.stop()


async def test_an_ingest_of_before_is_seen_without_containerd(shelf: Shelf) -> None:
    shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA[:5])

    await shelf.follow()

    await shelf.until_status(PartialStatus(5, 20))


@pytest.mark.parametrize("prefix", ["layer-", "manifest-", "config-", "index-", ""])
async def test_the_digest_at_the_end_of_the_ref_counts_whatever_is_before_it(
    shelf: Shelf, prefix: str
) -> None:
    await shelf.follow()
    shelf.ingest("one", f"k8s.io/12/{prefix}{DIGEST}", total=20, data=DATA[:5])

    await shelf.until_status(PartialStatus(5, 20))


@pytest.mark.parametrize(
    "ref",
    [f"other/1/layer-{DIGEST}", f"layer-{DIGEST}", "k8s.io/1/upload-42", f"k8s.io/1/layer-{DIGEST}-more", ""],
)
async def test_other_ingests_are_nobodys(shelf: Shelf, ref: str) -> None:
    shelf.ingest("odd", ref, total=20, data=DATA[:5])
    other = Digest.of(b"other")
    shelf.ingest("one", f"k8s.io/1/layer-{other}", total=7, data=b"")

    await shelf.follow()
    await shelf.witness.until(lambda: other in shelf.witness.partials)

    assert list(shelf.store.partials()) == [other]


async def test_a_total_that_is_written_late_is_found(shelf: Shelf) -> None:
    await shelf.follow()
    directory = shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", data=DATA[:5])
    await shelf.until_status(PartialStatus(5, 0))

    (directory / "total").write_text("20")

    await shelf.until_status(PartialStatus(5, 20))


async def test_of_two_ingests_of_a_blob_the_one_that_is_further_counts(shelf: Shelf) -> None:
    await shelf.follow()
    ahead = shelf.ingest("ahead", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA[:15])
    shelf.ingest("behind", f"k8s.io/2/upload-{DIGEST}", total=20, data=DATA[:5])
    await shelf.until_status(PartialStatus(15, 20))

    shelf.remove(ahead)

    await shelf.until_status(PartialStatus(5, 20))


async def test_an_ingest_that_begins_again_is_told_with_its_smaller_offset(shelf: Shelf) -> None:
    await shelf.follow()
    directory = shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA[:15])
    await shelf.until_status(PartialStatus(15, 20))

    os.truncate(directory / "data", 0)

    await shelf.until_status(PartialStatus(0, 20))


async def test_a_commit_that_containerd_does_not_confirm_is_no_partial_for_ever(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "RETRIES", 3)
    shelf.containerd.start()
    await shelf.follow("")
    await shelf.witness.until(lambda: shelf.store.availability().is_connected)
    directory = shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA)
    await shelf.until_status(PartialStatus(20, 20))

    shelf.commit(directory)
    partial = await shelf.store.open_partial(DIGEST)

    assert partial.poll() == PartialStatus(20, 20)
    assert os.pread(partial.fileno(), 99, 0) == DATA
    await partial.aclose()
    await shelf.until_status(None)
    assert DIGEST not in shelf.store.blobs()


async def test_an_ingest_is_opened_before_its_news(shelf: Shelf) -> None:
    await shelf.follow()
    directory = shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA[:5])

    partial = await shelf.store.open_partial(DIGEST)

    assert partial.poll() == PartialStatus(5, 20)
    shelf.remove(directory)
    assert partial.poll() is None
    await partial.aclose()


async def test_a_kernel_without_inotify_to_spare_is_done_without(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(disk, "Inotify", refuse)
    monkeypatch.setattr(disk, "RESCAN_INTERVAL", 0.02)
    await shelf.follow()
    directory = shelf.ingest("one", f"k8s.io/1/layer-{DIGEST}", total=20, data=DATA[:5])
    await shelf.until_status(PartialStatus(5, 20))

    shelf.remove(directory)

    await shelf.until_status(None)
    news = [event for event in shelf.witness.events if isinstance(event, PartialChanged | PartialRemoved)]
    assert news == [PartialChanged(DIGEST, PartialStatus(5, 20)), PartialRemoved(DIGEST)]


async def test_the_first_ingest_of_all_is_seen_as_its_store_is_made(shelf: Shelf) -> None:
    # containerd 2 makes its content directory with it.
    shutil.rmtree(shelf.containerd.content)
    await shelf.follow()
    with pytest.raises(ContentNotFoundError):
        await shelf.store.size(DIGEST)

    (shelf.containerd.content / "ingest").mkdir(parents=True)
    directory = shelf.ingest("one", f"k8s.io/1/manifest-{DIGEST}", total=20, data=b"")

    partial = await shelf.store.open_partial(DIGEST)
    assert partial.total == 20
    await partial.aclose()
    (directory / "data").write_bytes(DATA[:5])
    await shelf.until_status(PartialStatus(5, 20))
