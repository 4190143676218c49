import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from lab import images
from shell.stores.conformance import Witness, content_of, read_all
from shell.stores.fake_containerd import FakeContainerd
from spegel_gossip.content import ContentNotFoundError, ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.containerd.store import ContainerdStore

NAME = "registry.test/app:v1"
TAG = TagName.parse(NAME)
MANY = 10_000
QUEUE_LIMIT = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@dataclass
class Table:
    containerd: FakeContainerd
    store: ContainerdStore
    nursery: trio.Nursery
    witness: Witness = field(default_factory=Witness)

    async def follow(self) -> None:
        self.containerd.start()
        self.nursery.start_soon(self.store.run, self.witness.emit)
        await self.witness.until(lambda: self.store.availability().is_connected)

    def put(self, artifact: images.Artifact, name: str) -> None:
        for blob in (*artifact.blobs, *artifact.manifests):
            self.containerd.add_blob(content_of(blob))
        root = artifact.root
        self.containerd.add_image(name, root.digest, root.size, root.media_type)


class LargestTurn(trio.abc.Instrument):
    """How many blobs came or went at most in one turn of the loop, while all others waited."""

    def __init__(self, store: ContainerdStore) -> None:
        self.blobs = 0
        self._store = store
        self._before = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = len(self._store.blobs())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.blobs = max(self.blobs, abs(len(self._store.blobs()) - self._before))


@pytest.fixture
async def table(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Table]:
    containerd = FakeContainerd(tmp_path)
    table = Table(containerd, ContainerdStore(containerd.config()), nursery)
    yield table
    nursery.cancel_scope.cancel()
    containerd.stop()


async def test_odd_images_are_skipped_and_the_others_are_shared(table: Table) -> None:
    table.put(images.image(1), NAME)
    nonsense = table.containerd.add_blob(b"not a manifest")
    table.containerd.add_image("registry.test/nonsense:v1", str(nonsense), 14)
    table.containerd.add_image("registry.test/md5:v1", "md5:d41d8cd98f00b204e9800998ecf8427e")
    table.containerd.add_image("registry.test/absent:v1", str(Digest.of(b"absent")), 6)
    table.containerd.add_image("REGISTRY.test/Upper Case:v1", str(nonsense), 14)
    table.containerd.listed["sha256:short"] = 5

    await table.follow()

    assert list(table.store.tags()) == [TAG]
    for odd in ("nonsense", "md5", "absent"):
        with pytest.raises(ContentNotFoundError):
            await table.store.resolve(TagName("registry.test", odd, "v1"))


async def test_what_is_listed_but_not_on_disk_is_not_held(table: Table) -> None:
    table.put(images.image(1), NAME)
    ghost = Digest.of(b"ghost")
    table.containerd.listed[str(ghost)] = 5

    await table.follow()

    assert ghost not in table.store.blobs()
    with pytest.raises(ContentNotFoundError):
        await table.store.open(ghost)


async def test_a_miss_and_a_hit_ask_containerd_nothing(table: Table) -> None:
    held = table.containerd.add_blob(b"held")
    await table.follow()
    before = table.containerd.infos

    assert await read_all(table.store, held) == b"held"
    with pytest.raises(ContentNotFoundError):
        await table.store.open(Digest.of(b"absent"))

    assert table.containerd.infos == before


async def test_a_file_that_containerd_has_not_listed_yet_is_looked_for_again(table: Table) -> None:
    await table.follow()
    digest = table.containerd.add_file(b"renamed, and the database is still syncing")
    await trio.to_thread.run_sync(table.containerd.wait_for_infos, 3)
    assert digest not in table.store.blobs()

    table.containerd.listed[str(digest)] = 42

    await table.witness.until(lambda: digest in table.witness.blobs)


async def test_a_comparison_of_all_does_not_end_the_search_for_what_is_not_listed_yet(table: Table) -> None:
    await table.follow()
    digest = table.containerd.add_file(b"renamed, and the database is still syncing")
    await trio.to_thread.run_sync(table.containerd.wait_for_infos, 1)
    compared = table.containerd.lists

    # As at a first pull, when each directory that comes is a reason to compare.
    (table.containerd.content / "blobs" / "sha512").mkdir()
    await trio.to_thread.run_sync(table.containerd.wait_for_lists, compared + 1)
    table.containerd.listed[str(digest)] = 42

    await table.witness.until(lambda: digest in table.witness.blobs)


async def test_an_image_is_found_by_its_event_even_where_its_layers_brought_no_news(table: Table) -> None:
    artifact = images.image(1)
    for blob in (*artifact.blobs, *artifact.manifests):
        table.containerd.add_file(content_of(blob))
    await table.follow()
    assert TAG not in table.store.tags()

    # Another namespace had pulled it: no file comes, containerd only lists what is there already.
    table.put(artifact, NAME)
    table.containerd.tell("/images/create", NAME)

    await table.witness.until(lambda: TAG in table.witness.tags)
    assert {Digest.parse(one) for one in artifact.digests} == set(table.store.blobs())


async def test_a_tag_resolves_before_its_event(table: Table) -> None:
    await table.follow()
    artifact = images.image(1)
    table.put(artifact, NAME)

    assert str((await table.store.resolve(TAG)).target.digest) == artifact.root.digest

    await table.witness.until(lambda: TAG in table.witness.tags)


async def test_a_root_that_is_not_this_containerds_is_not_read(table: Table, tmp_path: Path) -> None:
    # The exported path exists in this mount namespace, but other blobs lie there.
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "blobs" / "sha256").mkdir(parents=True)
    table.containerd.exported_root = str(elsewhere)
    held = table.containerd.add_blob(b"held")

    await table.follow()

    assert await read_all(table.store, held) == b"held"


async def test_a_content_root_that_vanishes_is_no_miss(table: Table) -> None:
    held = table.containerd.add_blob(b"held")
    await table.follow()

    table.containerd.content.rename(table.containerd.root / "aside")

    with pytest.raises(ContentStoreUnavailableError):
        await table.store.open(held)
    with pytest.raises(ContentStoreUnavailableError):
        await table.store.size(Digest.of(b"absent"))
    assert held in table.store.blobs()


async def test_ten_thousand_blobs_do_not_stall_the_loop(table: Table) -> None:
    directory = table.containerd.content / "blobs" / "sha256"
    source = directory / "source"
    source.write_bytes(b"the same bytes: nobody here verifies them")
    for number in range(MANY):
        digest = Digest.of(number.to_bytes(4, "big"))
        (directory / digest.hex).hardlink_to(source)
        table.containerd.listed[str(digest)] = 41
    for number in range(300):
        table.put(images.image(number), f"registry.test/image-{number}:v1")
    turns = LargestTurn(table.store)
    trio.lowlevel.add_instrument(turns)

    await table.follow()
    await table.witness.until(lambda: len(table.witness.tags) == 300)
    assert len(table.store.blobs()) > MANY

    shutil.rmtree(directory)
    await table.witness.until(lambda: not table.witness.blobs and not table.witness.tags)

    # Applied in one go, a listing of so many takes 150 ms on a slow core.
    assert 0 < turns.blobs <= MANY // 10


async def test_news_that_the_kernel_dropped_is_made_up_for(table: Table) -> None:
    directory = table.containerd.content / "blobs" / "sha256"
    await table.follow()
    source = table.containerd.add_file(b"source")
    # In one turn of the loop, so that nobody reads the queue.
    for number in range(QUEUE_LIMIT + 10):
        (directory / f"stray-{number % 100}").hardlink_to(directory / source.hex)
        (directory / f"stray-{number % 100}").unlink()
    last = table.containerd.add_blob(b"the last one")

    await table.witness.until(lambda: last in table.witness.blobs)


async def test_a_first_pull_makes_the_directories_and_is_seen(table: Table) -> None:
    shutil.rmtree(table.containerd.content / "blobs")
    (table.containerd.content / "ingest").rmdir()
    await table.follow()

    (table.containerd.content / "blobs" / "sha256").mkdir(parents=True)
    first = table.containerd.add_blob(b"first")

    await table.witness.until(lambda: first in table.witness.blobs)


async def test_a_content_root_that_comes_with_the_first_pull_is_read_from_then_on(table: Table) -> None:
    shutil.rmtree(table.containerd.content)
    await table.follow()

    (table.containerd.content / "blobs" / "sha256").mkdir(parents=True)
    (table.containerd.content / "ingest").mkdir()
    artifact = images.image(1)
    table.put(artifact, "registry.lab/first:v1")
    table.containerd.tell("/images/create", "registry.lab/first:v1")
    await table.witness.until(lambda: len(table.witness.blobs) == len(artifact.digests))
    table.containerd.stop()

    await table.witness.until(lambda: not table.store.availability().is_connected)
    assert table.store.availability().is_readable


async def test_a_namespace_that_does_not_exist_is_named_with_the_remedy(table: Table) -> None:
    table.containerd.namespaces = ["moby"]

    await table.follow()

    reason = table.store.availability().reason
    assert "'k8s.io'" in reason
    assert "moby" in reason
    assert "--containerd-namespace" in reason


async def test_a_containerd_that_never_pulled_is_no_reason_for_concern(table: Table) -> None:
    table.containerd.namespaces = []

    await table.follow()

    assert table.store.availability().reason == ""


async def test_an_event_that_cannot_be_parsed_is_skipped(table: Table) -> None:
    await table.follow()
    table.put(images.image(1), NAME)

    table.containerd.tell_raw("/images/create", b"\xff\xff\xff")
    table.containerd.tell_raw("/images/of another kind", b"")
    table.containerd.tell("/images/create", NAME)

    await table.witness.until(lambda: TAG in table.witness.tags)


async def test_what_changed_between_two_subscriptions_is_found(table: Table) -> None:
    held = table.containerd.add_blob(b"held")
    await table.follow()
    table.put(images.image(1), NAME)
    del table.containerd.listed[str(held)]

    # No event tells of either: as at the end of every reconcile interval.
    table.containerd.end_subscription()

    await table.witness.until(lambda: TAG in table.witness.tags and held not in table.witness.blobs)
    assert table.store.availability().is_connected
