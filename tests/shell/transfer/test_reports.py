import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from spegel_gossip.content import BlobAdded, TagChanged
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.transfer.reports import MAX_IMAGES, NAME_PATIENCE, Reports

TAG = TagName.parse("docker.io/library/app:v1")
MEGABYTE = 1_000_000


def encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def descriptor(digest: Digest, size: int, media_type: str) -> dict[str, Any]:
    return {"digest": str(digest), "size": size, "mediaType": media_type}


LAYERS = {Digest.of(b"%d" % number): number * MEGABYTE for number in (1, 2)}
CONFIG = Digest.of(b"config")
MANIFEST = encode(
    {
        "mediaType": types.OCI_MANIFEST,
        "config": descriptor(CONFIG, 500, types.OCI_CONFIG),
        "layers": [descriptor(digest, size, "layer") for digest, size in LAYERS.items()],
    }
)
ROOT = Digest.of(MANIFEST)
INDEX = encode(
    {
        "mediaType": types.OCI_INDEX,
        "manifests": [
            descriptor(digest, size, types.OCI_MANIFEST)
            for digest, size in ((ROOT, len(MANIFEST)), (Digest.of(b"of another platform"), 9))
        ],
    }
)


class Store:
    """What is here, and the lines that were written of it."""

    def __init__(self) -> None:
        self.held: dict[Digest, bytes] = {}
        self.reports = Reports(self.read, self.held.__contains__)
        self.lines: list[MutableMapping[str, Any]] = []

    async def read(self, digest: Digest) -> bytes | None:
        return self.held.get(digest)

    async def add(self, digest: Digest, size: int, content: bytes = b"") -> None:
        self.held[digest] = content
        await self.reports.on_content(BlobAdded(digest, size))

    async def tag(self, content: bytes) -> None:
        target = Descriptor(Digest.of(content), len(content), types.OCI_MANIFEST)
        await self.reports.on_content(TagChanged(TAG, target, 0.0))

    def said(self) -> list[str]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(autouse=True)
def listening(store: Store) -> Iterator[None]:
    with structlog.testing.capture_logs() as lines:
        store.lines = lines
        yield


async def pull(store: Store) -> None:
    """The first layer from the registry, the second from nodes."""
    _, second = LAYERS
    store.reports.asked(ROOT, is_manifest=True)
    await store.add(ROOT, len(MANIFEST), MANIFEST)
    for digest, size in LAYERS.items():
        store.reports.asked(digest)
        if digest == second:
            store.reports.opened(digest)
            store.reports.received(digest, size // 2, is_growing=True)
            store.reports.received(digest, size // 2, is_growing=False)
            store.reports.closed(digest)
        await store.add(digest, size)
    store.reports.asked(CONFIG)
    await store.add(CONFIG, 500)


async def test_an_image_that_was_pulled_has_one_line(
    store: Store, autojump_clock: trio.testing.MockClock
) -> None:
    await pull(store)
    await trio.sleep(1.5)
    assert store.said() == []

    await store.tag(MANIFEST)
    await store.tag(MANIFEST)

    assert store.said() == ["image pulled: 2 layers, 3.0 MB: upstream 1.0, peers 2.0, 0.0 s"]
    assert store.lines[0]["image"] == str(TAG)
    assert (store.lines[0]["complete"], store.lines[0]["partial"]) == (MEGABYTE, MEGABYTE)
    assert store.lines[0]["bytes"] == 3 * MEGABYTE + 500 + len(MANIFEST)


async def test_of_an_index_the_image_that_is_here_counts(
    store: Store, autojump_clock: trio.testing.MockClock
) -> None:
    await pull(store)
    store.reports.asked(Digest.of(INDEX), is_manifest=True)
    await store.add(Digest.of(INDEX), len(INDEX), INDEX)

    await store.tag(INDEX)

    assert store.said() == ["image pulled: 2 layers, 3.0 MB: upstream 1.0, peers 2.0, 0.0 s"]


async def test_an_image_that_was_here_before_has_no_line(store: Store) -> None:
    for digest, size in LAYERS.items():
        await store.add(digest, size)
    await store.add(ROOT, len(MANIFEST), MANIFEST)

    await store.tag(MANIFEST)

    assert store.lines == []


async def test_the_line_waits_for_the_end_of_an_answer_under_way(
    store: Store, autojump_clock: trio.testing.MockClock
) -> None:
    first, _ = LAYERS
    store.reports.asked(first)
    store.reports.opened(first)
    await store.add(ROOT, len(MANIFEST), MANIFEST)
    await store.add(first, LAYERS[first])
    await store.tag(MANIFEST)
    assert store.said() == []

    store.reports.received(first, LAYERS[first], is_growing=False)
    store.reports.closed(first)

    assert store.said() == ["image pulled: 1 layer, 1.0 MB: upstream 0.0, peers 1.0, 0.0 s"]


async def test_an_image_pulled_by_its_digest_is_called_by_it(
    store: Store, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.reports.run)
        await pull(store)
        await trio.sleep(NAME_PATIENCE + 2)
        assert store.said() == ["image pulled: 2 layers, 3.0 MB: upstream 1.0, peers 2.0, 0.0 s"]
        assert store.lines[0]["image"] == str(ROOT)

        await store.tag(MANIFEST)
        await trio.sleep(NAME_PATIENCE + 2)
        assert len(store.lines) == 1
        nursery.cancel_scope.cancel()


async def test_images_that_are_never_whole_are_forgotten(store: Store) -> None:
    store.reports.asked(CONFIG)
    for number in range(MAX_IMAGES + 5):
        content = encode(
            {
                "mediaType": types.OCI_MANIFEST,
                "config": descriptor(CONFIG, 500, types.OCI_CONFIG),
                "layers": [],
                "annotations": {"number": str(number)},
            }
        )
        await store.add(Digest.of(content), len(content), content)
        tag = TagName.parse(f"docker.io/library/app:v{number}")
        target = Descriptor(Digest.of(content), len(content), types.OCI_MANIFEST)
        await store.reports.on_content(TagChanged(tag, target, 0.0))

    await store.add(CONFIG, 500)

    # Its bytes came once, however many images they are in; the oldest that is still waited for tells.
    assert [line["image"] for line in store.lines] == ["docker.io/library/app:v5"]
