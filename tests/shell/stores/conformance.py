"""What every content store must do, as tests; a store's own file says how to put things into it.

A subclass of `StoreConformance` in a test file, and an async fixture `bench` there, run all of it
against one store.
"""

import os
from collections.abc import Callable
from typing import Protocol

import pytest
import trio

from lab import images
from spegel_gossip.content import (
    Availability,
    AvailabilityChanged,
    BlobAdded,
    BlobRemoved,
    ContentEvent,
    ContentNotFoundError,
    ContentStore,
    ContentStoreUnavailableError,
    PartialChanged,
    PartialLeft,
    PartialRemoved,
    PartialStatus,
    TagChanged,
    TagRemoved,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

MIB = 1024 * 1024
PATIENCE = 15.0
"""Seconds for news to arrive: containerd syncs to disk before it lists a blob; threefold slack."""


class IngestInHand(Protocol):
    """A blob that a test lets arrive."""

    async def write(self, data: bytes) -> None: ...

    async def commit(self) -> None: ...

    async def abort(self) -> None: ...

    async def keep(self) -> None: ...


class Witness:
    """Hears every event, and keeps the inventory that they add up to."""

    def __init__(self) -> None:
        self.events: list[ContentEvent] = []
        self.blobs: dict[Digest, int] = {}
        self.tags: dict[TagName, TagChanged] = {}
        self.partials: dict[Digest, PartialStatus] = {}
        self.availability: Availability | None = None
        self._heard = trio.Event()

    async def emit(self, event: ContentEvent) -> None:
        self.events.append(event)
        match event:
            case BlobAdded(digest, size):
                self.blobs[digest] = size
            case BlobRemoved(digest):
                del self.blobs[digest]
            case TagChanged(name):
                self.tags[name] = event
            case TagRemoved(name):
                del self.tags[name]
            case PartialChanged(digest, status):
                self.partials[digest] = status
            case PartialRemoved(digest):
                del self.partials[digest]
            case PartialLeft():
                pass
            case AvailabilityChanged(availability):
                self.availability = availability
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                self._heard = trio.Event()
                await self._heard.wait()


class Bench(Protocol):
    """A running store, its witness, and the hands to change what it holds."""

    store: ContentStore
    witness: Witness
    seed: int

    async def put_image(self, artifact: images.Artifact, name: TagName) -> None: ...

    async def remove_image(self, name: TagName) -> None: ...

    async def put_blob(self, data: bytes) -> None: ...

    async def remove_blob(self, digest: Digest) -> None: ...

    async def begin_ingest(self, digest: Digest, total: int) -> IngestInHand: ...

    async def lose(self) -> None: ...

    async def regain(self) -> None: ...


def root_of(artifact: images.Artifact) -> Digest:
    return Digest.parse(artifact.root.digest)


def content_of(blob: images.Blob) -> bytes:
    return b"".join(blob.chunks())


async def read_all(store: ContentStore, digest: Digest) -> bytes:
    reader = await store.open(digest)
    try:
        data = b""
        while chunk := await reader.read_at(len(data), MIB):
            data += chunk
        assert len(data) == reader.size
        descriptor = reader.fileno()
        if descriptor is not None:
            assert os.pread(descriptor, reader.size + 1, 0) == data
        return data
    finally:
        await reader.aclose()
        await reader.aclose()


async def begin_half(bench: Bench) -> tuple[IngestInHand, Digest]:
    """Let a first MiB of two arrive, and be seen to."""
    data = os.urandom(2 * MIB)
    digest = Digest.of(data)
    ingest = await bench.begin_ingest(digest, len(data))
    await ingest.write(data[:MIB])
    await bench.witness.until(lambda: digest in bench.witness.partials)
    return ingest, digest


class StoreConformance:
    """The promises of `content.ContentStore`."""

    @pytest.fixture
    def name(self, bench: Bench) -> TagName:
        return TagName("registry.test", f"image-{bench.seed}", "v1")

    async def test_a_blob_that_was_committed_is_told_and_can_be_read(self, bench: Bench) -> None:
        data = os.urandom(3 * MIB + 17)
        digest = Digest.of(data)

        await bench.put_blob(data)
        await bench.witness.until(lambda: digest in bench.witness.blobs)

        assert bench.store.blobs()[digest] == bench.witness.blobs[digest] == len(data)
        assert await bench.store.size(digest) == len(data)
        assert await read_all(bench.store, digest) == data

    async def test_content_committed_a_moment_ago_is_found_before_its_event(self, bench: Bench) -> None:
        data = os.urandom(1_000)

        await bench.put_blob(data)

        assert await bench.store.size(Digest.of(data)) == len(data)
        assert await read_all(bench.store, Digest.of(data)) == data

    async def test_reading_beyond_the_end_gives_nothing(self, bench: Bench) -> None:
        data = os.urandom(1_000)
        await bench.put_blob(data)
        reader = await bench.store.open(Digest.of(data))

        assert await reader.read_at(990, 100) == data[990:]
        assert await reader.read_at(1_000, 1) == b""
        assert await reader.read_at(2_000, 1) == b""
        await reader.aclose()

    async def test_what_is_not_there_is_not_found(self, bench: Bench, name: TagName) -> None:
        absent = Digest.of(os.urandom(8))

        with pytest.raises(ContentNotFoundError):
            await bench.store.size(absent)
        with pytest.raises(ContentNotFoundError):
            await bench.store.open(absent)
        with pytest.raises(ContentNotFoundError):
            await bench.store.open_partial(absent)
        with pytest.raises(ContentNotFoundError):
            await bench.store.resolve(name)

    async def test_an_open_blob_stays_readable_after_it_was_collected(self, bench: Bench) -> None:
        data = os.urandom(10_000)
        digest = Digest.of(data)
        await bench.put_blob(data)
        await bench.witness.until(lambda: digest in bench.witness.blobs)
        reader = await bench.store.open(digest)

        await bench.remove_blob(digest)
        await bench.witness.until(lambda: digest not in bench.witness.blobs)

        assert await reader.read_at(0, len(data)) == data
        await reader.aclose()
        assert digest not in bench.store.blobs()
        with pytest.raises(ContentNotFoundError):
            await bench.store.open(digest)

    @pytest.mark.parametrize("kind", ["image", "index", "helm", "artifact"])
    async def test_a_tag_resolves_while_its_whole_image_is_here(
        self, bench: Bench, name: TagName, kind: str
    ) -> None:
        make = {
            "image": lambda: images.image(bench.seed, [0, 0, 0]),
            "index": lambda: images.index(bench.seed),
            "helm": lambda: images.helm_chart(bench.seed),
            "artifact": lambda: images.artifact(bench.seed),
        }
        artifact = make[kind]()

        await bench.put_image(artifact, name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        tag = await bench.store.resolve(name)
        assert tag == bench.store.tags()[name] == bench.witness.tags[name]
        assert (tag.target.digest, tag.target.size) == (root_of(artifact), artifact.root.size)
        assert {Digest.parse(one) for one in artifact.digests} <= set(bench.store.blobs())

    async def test_a_tag_goes_with_the_first_layer_and_returns_with_the_last(
        self, bench: Bench, name: TagName
    ) -> None:
        artifact = images.image(bench.seed, [0, 0])
        lost = artifact.blobs[-1]
        await bench.put_image(artifact, name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        await bench.remove_blob(Digest.parse(lost.digest))
        await bench.witness.until(lambda: name not in bench.witness.tags)

        assert name not in bench.store.tags()
        with pytest.raises(ContentNotFoundError):
            await bench.store.resolve(name)
        await bench.put_blob(content_of(lost))
        await bench.witness.until(lambda: name in bench.witness.tags)

    async def test_an_index_keeps_its_tag_while_one_platform_is_whole(
        self, bench: Bench, name: TagName
    ) -> None:
        artifact = images.index(bench.seed, layers=1)
        layers = [Digest.parse(blob.digest) for blob in artifact.blobs if blob.media_type == images.LAYER]
        await bench.put_image(artifact, name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        await bench.remove_blob(layers[0])
        await bench.witness.until(lambda: layers[0] not in bench.witness.blobs)
        assert (await bench.store.resolve(name)).target.digest == root_of(artifact)

        await bench.remove_blob(layers[1])
        await bench.witness.until(lambda: name not in bench.witness.tags)

    async def test_a_tag_that_was_moved_names_the_new_image(self, bench: Bench, name: TagName) -> None:
        before, after = images.image(bench.seed), images.image(bench.seed + 1)
        await bench.put_image(before, name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        await bench.put_image(after, name)
        await bench.witness.until(
            lambda: name in bench.witness.tags and bench.witness.tags[name].target.digest == root_of(after)
        )

        assert (await bench.store.resolve(name)).target.digest == root_of(after)

    async def test_an_image_that_was_removed_takes_its_tag_along(self, bench: Bench, name: TagName) -> None:
        await bench.put_image(images.image(bench.seed), name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        await bench.remove_image(name)
        await bench.witness.until(lambda: name not in bench.witness.tags)

        with pytest.raises(ContentNotFoundError):
            await bench.store.resolve(name)

    async def test_an_ingest_is_seen_to_open_to_grow_and_to_become_a_blob(self, bench: Bench) -> None:
        data = os.urandom(4 * MIB)
        digest = Digest.of(data)
        witness = bench.witness
        ingest = await bench.begin_ingest(digest, len(data))
        await witness.until(lambda: digest in witness.partials)
        partial = await bench.store.open_partial(digest)
        assert partial.total == len(data)

        await ingest.write(data[: 2 * MIB])
        await witness.until(lambda: witness.partials[digest] == PartialStatus(2 * MIB, len(data)))
        assert partial.poll() == bench.store.partials()[digest] == PartialStatus(2 * MIB, len(data))
        assert os.pread(partial.fileno(), 3 * MIB, 0) == data[: 2 * MIB]

        await ingest.write(data[2 * MIB :])
        await ingest.commit()
        await witness.until(lambda: digest in witness.blobs and digest not in witness.partials)
        assert partial.poll() == PartialStatus(len(data), len(data))
        assert os.pread(partial.fileno(), len(data) + 1, 0) == data
        await partial.aclose()
        await partial.aclose()
        assert digest not in bench.store.partials()
        # Nobody may think in between that nothing of it is here.
        order = [
            event
            for event in witness.events
            if event in (BlobAdded(digest, len(data)), PartialRemoved(digest))
        ]
        assert order == [BlobAdded(digest, len(data)), PartialRemoved(digest)]

    async def test_an_open_partial_outlives_commit_and_collection(self, bench: Bench) -> None:
        data = os.urandom(MIB)
        digest = Digest.of(data)
        ingest = await bench.begin_ingest(digest, len(data))
        await bench.witness.until(lambda: digest in bench.witness.partials)
        partial = await bench.store.open_partial(digest)
        await ingest.write(data)
        await ingest.commit()
        await bench.witness.until(lambda: digest in bench.witness.blobs)
        assert partial.poll() == PartialStatus(MIB, MIB)

        await bench.remove_blob(digest)
        await bench.witness.until(lambda: digest not in bench.witness.blobs)

        assert partial.poll() == PartialStatus(MIB, MIB)
        assert os.pread(partial.fileno(), MIB, 0) == data
        await partial.aclose()

    async def test_an_ingest_that_nobody_writes_to_any_more_stays_and_is_told(self, bench: Bench) -> None:
        ingest, digest = await begin_half(bench)
        assert PartialLeft(digest) not in bench.witness.events

        await ingest.keep()

        await bench.witness.until(lambda: PartialLeft(digest) in bench.witness.events)
        assert bench.store.partials()[digest].total == 2 * MIB

    async def test_a_commit_is_not_told_as_an_end(self, bench: Bench) -> None:
        data = os.urandom(2 * MIB)
        digest = Digest.of(data)
        ingest = await bench.begin_ingest(digest, len(data))
        await ingest.write(data)
        await ingest.commit()
        await bench.witness.until(
            lambda: digest in bench.witness.blobs and digest not in bench.witness.partials
        )
        assert PartialLeft(digest) not in bench.witness.events

    async def test_an_ingest_that_is_aborted_ends(self, bench: Bench) -> None:
        ingest, digest = await begin_half(bench)
        partial = await bench.store.open_partial(digest)

        await ingest.abort()
        await bench.witness.until(lambda: digest not in bench.witness.partials)

        assert partial.poll() is None
        await partial.aclose()
        assert digest not in bench.store.blobs()
        with pytest.raises(ContentNotFoundError):
            await bench.store.open_partial(digest)

    async def test_what_is_held_is_served_while_the_service_is_away(
        self, bench: Bench, name: TagName
    ) -> None:
        artifact = images.image(bench.seed)
        await bench.put_image(artifact, name)
        await bench.witness.until(lambda: name in bench.witness.tags)

        await bench.lose()
        await bench.witness.until(lambda: not bench.store.availability().is_connected)

        away = bench.store.availability()
        assert away.is_readable
        assert away.reason
        assert await read_all(bench.store, root_of(artifact)) == content_of(artifact.root)
        assert (await bench.store.resolve(name)).target.digest == root_of(artifact)
        with pytest.raises(ContentStoreUnavailableError):
            await bench.store.resolve(TagName("registry.test", "another", "v1"))
        await bench.regain()
        await bench.witness.until(lambda: bench.store.availability().is_connected)
        assert name in bench.store.tags()

    async def test_the_events_add_up_to_the_inventory(self, bench: Bench, name: TagName) -> None:
        artifact = images.index(bench.seed)
        await bench.put_image(artifact, name)
        await bench.witness.until(lambda: name in bench.witness.tags)
        await bench.remove_blob(Digest.parse(artifact.blobs[0].digest))
        await bench.witness.until(lambda: Digest.parse(artifact.blobs[0].digest) not in bench.witness.blobs)

        # What is known already may still have to be told: a collection takes more than that one blob.
        await bench.witness.until(lambda: bench.witness.blobs == bench.store.blobs())
        assert bench.witness.tags == bench.store.tags()
        assert bench.witness.partials == bench.store.partials()
        assert bench.witness.availability == bench.store.availability()
