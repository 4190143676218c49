import os
import time
from pathlib import Path

import pytest

from lab import images
from shell.stores.conformance import content_of, root_of
from shell.stores.layout_bench import blob_path, open_new, put, put_image, ref_of
from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.collection import Collected
from spegel_gossip.stores.layout.writer import LayoutWriter

NAME = TagName("registry.test", "app", "v1")
IMAGE = images.image(1, [0, 0])
OTHER = images.image(2, [0])
HOUR = 3_600.0


def digests_of(artifact: images.Artifact) -> set[Digest]:
    return {Digest.parse(text) for text in artifact.digests}


def held(root: Path) -> set[Digest]:
    return {Digest("sha256", path.name) for path in (root / "blobs" / "sha256").iterdir()}


def age(root: Path) -> None:
    """Everything was put here two hours ago."""
    then = time.time() - 2 * HOUR
    for path in (*root.glob("blobs/*/*"), *root.glob("ingest/*/data"), *root.glob("ingest/*")):
        os.utime(path, (then, then))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
async def writer(root: Path) -> LayoutWriter:
    writer = LayoutWriter(root, time.time)
    await writer.create()
    return writer


async def put_parts(writer: LayoutWriter, *blobs: images.Blob) -> None:
    for blob in blobs:
        await put(writer, content_of(blob))


@pytest.mark.parametrize(
    "artifact", [IMAGE, images.index(1), images.helm_chart(1)], ids=["image", "index", "helm"]
)
async def test_what_a_tag_reaches_stays_and_the_rest_goes(
    writer: LayoutWriter, root: Path, artifact: images.Artifact
) -> None:
    await put_image(writer, artifact, NAME)
    stray = await put(writer, b"nobody names this")
    age(root)

    collected = await writer.gc()

    assert held(root) == digests_of(artifact)
    assert (collected.blobs, collected.bytes) == ((stray,), len(b"nobody names this"))
    await writer.untag(NAME)
    assert set((await writer.gc()).blobs) == digests_of(artifact)
    assert held(root) == set()


async def test_an_entry_without_a_name_is_kept_too(writer: LayoutWriter, root: Path) -> None:
    await put_image(writer, IMAGE, NAME)
    index = root / "index.json"
    index.write_text(index.read_text().replace("org.opencontainers", "x").replace("io.containerd", "x"))
    age(root)

    await writer.gc()

    assert held(root) == digests_of(IMAGE)


async def test_what_is_young_stays_with_the_image_it_belongs_to(writer: LayoutWriter, root: Path) -> None:
    await put_parts(writer, IMAGE.root, IMAGE.blobs[0], *OTHER.manifests, *OTHER.blobs)
    age(root)
    await put_parts(writer, IMAGE.blobs[1])

    await writer.gc()

    assert held(root) == {Digest.parse(blob.digest) for blob in (IMAGE.root, *IMAGE.blobs[:2])}


async def test_what_was_asked_for_is_young_again(writer: LayoutWriter, root: Path) -> None:
    await put_parts(writer, IMAGE.root, *IMAGE.blobs)
    age(root)

    for digest in digests_of(IMAGE):
        assert await writer.open_ingest(ref_of(digest), digest, 0) is None
    await writer.gc()

    assert held(root) == digests_of(IMAGE)


@pytest.mark.parametrize("is_running", [True, False])
async def test_an_ingest_keeps_the_image_that_it_is_for(
    writer: LayoutWriter, root: Path, is_running: bool
) -> None:
    artifact = images.index(1)
    last = artifact.blobs[1]
    others = [blob for blob in (*artifact.manifests, *artifact.blobs) if blob is not last]
    await put_parts(writer, *others)
    ingest = await open_new(writer, Digest.parse(last.digest), last.size)
    await ingest.write(content_of(last)[:10])
    age(root)
    if not is_running:
        await ingest.keep()
        os.utime(root / "ingest" / f"sha256-{last.digest[7:]}" / "data")

    assert await writer.gc() == Collected((), 0, ())

    assert held(root) == digests_of(artifact) - {Digest.parse(last.digest)}
    await ingest.keep()


async def test_a_blob_is_young_from_its_commit_on(writer: LayoutWriter, root: Path) -> None:
    first = await open_new(writer, root_of(IMAGE), IMAGE.root.size)
    await first.write(content_of(IMAGE.root))
    await first.keep()
    age(root)
    second = await open_new(writer, root_of(IMAGE), IMAGE.root.size)
    await second.commit()

    await writer.gc()

    assert held(root) == {root_of(IMAGE)}


async def test_an_old_ingest_that_nobody_writes_goes(writer: LayoutWriter, root: Path) -> None:
    ingest = await open_new(writer, root_of(IMAGE), 100)
    await ingest.write(b"half")
    age(root)
    assert (await writer.gc()).ingests == ()
    await ingest.keep()

    assert (await writer.gc()).ingests == (f"sha256-{root_of(IMAGE).hex}",)

    assert list((root / "ingest").iterdir()) == []


async def test_nothing_goes_while_the_index_cannot_be_read(writer: LayoutWriter, root: Path) -> None:
    await put_image(writer, IMAGE, NAME)
    age(root)
    (root / "index.json").write_text('{"manifests": [')

    with pytest.raises(ContentStoreUnavailableError):
        await writer.gc()

    assert held(root) == digests_of(IMAGE)
    assert blob_path(root, root_of(IMAGE)).exists()
