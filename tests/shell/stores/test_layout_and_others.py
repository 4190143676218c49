"""What other programs do to a layout while a node follows it."""

import json
import os
import random
import shutil
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest
import trio

from lab import images
from lab.process import wait_until
from shell.stores.conformance import content_of, read_all, root_of
from shell.stores.layout_bench import LayoutBench, blob_path, open_new, put
from spegel_gossip.content import BlobAdded, ContentNotFoundError, PartialStatus
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.directory import INDEX_NAME, LayoutDirectory
from spegel_gossip.stores.layout.image_index import ImageIndex

MIB = 1024 * 1024
NAME = TagName("registry.test", "app", "v1")
SKOPEO = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


@pytest.fixture
async def bench(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> LayoutBench:
    bench = LayoutBench(tmp_path / "layout", crc32(request.node.name.encode()))
    await bench.writer.create()
    nursery.start_soon(bench.store.run, bench.witness.emit)
    await bench.witness.until(lambda: bench.store.availability().is_connected)
    return bench


async def skopeo(*arguments: str) -> str:
    result = await trio.run_process(
        ["skopeo", *arguments], capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 0, result.stdout.decode()
    return result.stdout.decode()


async def test_a_blob_that_another_program_moved_in_is_hashed_and_sealed(bench: LayoutBench) -> None:
    data = random.Random(1).randbytes(MIB)
    digest = Digest.of(data)
    new = bench.root / "new"
    new.write_bytes(data)

    new.rename(blob_path(bench.root, digest))
    await bench.witness.until(lambda: digest in bench.witness.blobs)

    assert await read_all(bench.store, digest) == data
    assert blob_path(bench.root, digest).stat().st_mode & 0o222 == 0


async def test_a_file_that_is_not_what_its_name_says_is_never_held(bench: LayoutBench) -> None:
    digest = Digest.of(b"right")
    blob_path(bench.root, digest).write_bytes(b"wrong")
    # The other comes after it, through the same hands.
    other = Digest.of(b"other")
    blob_path(bench.root, other).write_bytes(b"other")
    await bench.witness.until(lambda: other in bench.witness.blobs)

    assert digest not in bench.store.blobs()
    with pytest.raises(ContentNotFoundError):
        await bench.store.open(digest)

    # Our writer puts the right one in its place.
    await put(bench.writer, b"right")
    await bench.witness.until(lambda: digest in bench.witness.blobs)
    assert await read_all(bench.store, digest) == b"right"


def until_writable(path: Path) -> None:
    wait_until(lambda: path.stat().st_mode & stat.S_IWUSR != 0, what=f"{path} to lose its seal", timeout=30.0)


async def test_a_wrong_file_is_not_believed_later_for_being_read_only(
    bench: LayoutBench, nursery: trio.Nursery
) -> None:
    digest, other = Digest.of(b"right"), Digest.of(b"other")
    # What is left of an unpacking that was broken off.
    descriptor = os.open(blob_path(bench.root, digest), os.O_WRONLY | os.O_CREAT, 0o444)
    os.write(descriptor, b"rig")
    os.close(descriptor)
    await trio.to_thread.run_sync(until_writable, blob_path(bench.root, digest))
    blob_path(bench.root, other).write_bytes(b"other")
    await bench.witness.until(lambda: other in bench.witness.blobs)

    later = LayoutBench(bench.root, 1)
    nursery.start_soon(later.store.run, later.witness.emit)
    await later.witness.until(lambda: other in later.witness.blobs)

    assert digest not in later.store.blobs()


async def test_a_blob_that_is_written_in_place_counts_when_it_is_whole(bench: LayoutBench) -> None:
    data = random.Random(2).randbytes(2 * MIB)
    digest = Digest.of(data)
    # As tar unpacks a layout of ours: read-only from the start.
    descriptor = os.open(blob_path(bench.root, digest), os.O_WRONLY | os.O_CREAT, 0o444)
    os.write(descriptor, data[:MIB])
    other = await put(bench.writer, b"other")
    await bench.witness.until(lambda: other in bench.witness.blobs)
    assert digest not in bench.store.blobs()

    os.write(descriptor, data[MIB:])
    os.close(descriptor)
    await bench.witness.until(lambda: digest in bench.witness.blobs)

    assert [event.size for event in bench.witness.events if isinstance(event, BlobAdded)][-1] == len(data)
    assert await read_all(bench.store, digest) == data


async def test_a_blob_that_somebody_overwrites_is_held_no_more(bench: LayoutBench) -> None:
    digest = await put(bench.writer, b"the bytes")
    await bench.witness.until(lambda: digest in bench.witness.blobs)

    blob_path(bench.root, digest).chmod(0o644)
    blob_path(bench.root, digest).write_bytes(b"others")
    await bench.witness.until(lambda: digest not in bench.witness.blobs)

    with pytest.raises(ContentNotFoundError):
        await bench.store.open(digest)


async def test_a_layout_unpacked_over_a_followed_one_is_shared(bench: LayoutBench, tmp_path: Path) -> None:
    packed = LayoutBench(tmp_path / "packed", 1)
    await packed.writer.create()
    await packed.put_image(images.image(1, [0, 3 * MIB]), NAME)
    archive = str(tmp_path / "layout.tar")
    await trio.run_process(["tar", "-C", str(packed.root), "-cf", archive, "."])

    await trio.run_process(["tar", "-C", str(bench.root), "-xf", archive])
    await bench.witness.until(lambda: NAME in bench.witness.tags)

    assert bench.witness.blobs == bench.store.blobs()


async def test_what_was_there_before_the_node_is_found_at_its_start(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    bench = LayoutBench(tmp_path / "layout", 1)
    await bench.writer.create()
    artifact = images.index(1)
    await bench.put_image(artifact, NAME)
    for blob in artifact.blobs[:2]:
        # As skopeo leaves them.
        blob_path(bench.root, Digest.parse(blob.digest)).chmod(0o644)
    half = await open_new(bench.writer, Digest.of(b"half"), 4)
    await half.write(b"ha")
    # Without anybody who follows, it is found when asked for.
    assert (await bench.store.resolve(NAME)).target.digest == root_of(artifact)

    nursery.start_soon(bench.store.run, bench.witness.emit)
    await bench.witness.until(lambda: len(bench.witness.blobs) == len(artifact.digests))

    assert bench.store.partials() == {Digest.of(b"half"): PartialStatus(2, 4)}
    assert (await bench.store.resolve(NAME)).target.digest == root_of(artifact)
    await half.keep()


async def test_an_index_that_is_being_written_loses_no_tag(bench: LayoutBench) -> None:
    await bench.put_image(images.image(1), NAME)
    await bench.witness.until(lambda: NAME in bench.witness.tags)
    index = bench.root / "index.json"
    text = index.read_text()

    # As skopeo writes it: truncated first.
    with index.open("w") as file:
        file.write(text[:100])
        file.flush()
        await put(bench.writer, b"meanwhile")
        await bench.witness.until(lambda: Digest.of(b"meanwhile") in bench.witness.blobs)
        assert NAME in bench.store.tags()
        file.write(text[100:])
    await bench.witness.until(lambda: bench.store.availability().is_connected)

    assert NAME in bench.store.tags()


async def test_a_layout_that_vanishes_and_returns_is_followed_again(bench: LayoutBench) -> None:
    await bench.put_image(images.image(1), NAME)
    await bench.witness.until(lambda: NAME in bench.witness.tags)
    away = bench.root.with_name("away")

    bench.root.rename(away)
    await bench.witness.until(lambda: not bench.store.availability().is_connected)
    assert not bench.store.availability().is_readable
    assert "oci image layout" in bench.store.availability().reason.lower()

    away.rename(bench.root)
    await bench.witness.until(lambda: bench.store.availability().is_connected)
    assert await read_all(bench.store, root_of(images.image(1))) == content_of(images.image(1).root)


async def test_a_layout_that_is_replaced_by_another_is_that_one(bench: LayoutBench, tmp_path: Path) -> None:
    before = await put(bench.writer, b"in the first")
    await bench.witness.until(lambda: before in bench.witness.blobs)
    other = LayoutBench(tmp_path / "other", 1)
    await other.writer.create()
    await other.put_image(images.image(1), NAME)

    bench.root.rename(tmp_path / "away")
    other.root.rename(bench.root)
    await bench.witness.until(lambda: NAME in bench.witness.tags and before not in bench.witness.blobs)

    # And it is watched: this is no full comparison's doing.
    after = await put(bench.writer, b"in the second")
    await bench.witness.until(lambda: after in bench.witness.blobs)


async def test_another_process_is_seen_at_once(bench: LayoutBench) -> None:
    program = """
import sys, time, trio
from pathlib import Path
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.layout.writer import LayoutWriter
async def main():
    digest = Digest.of(b"x" * 1000)
    ingest = await LayoutWriter(Path(sys.argv[1]), time.time).open_ingest(f"layer-{digest}", digest, 1000)
    await ingest.write(b"x" * 600)
    print("half", flush=True)
    sys.stdin.readline()
    await ingest.write(b"x" * 400)
    await ingest.commit()
trio.run(main)
"""
    digest = Digest.of(b"x" * 1000)
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-c", program, str(bench.root)],
                stdin=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path},
            )
        )
        await bench.witness.until(lambda: bench.witness.partials.get(digest) == PartialStatus(600, 1000))
        assert process.stdin is not None
        await process.stdin.send_all(b"\n")
        await bench.witness.until(lambda: digest in bench.witness.blobs)

    assert await read_all(bench.store, digest) == b"x" * 1000


@SKOPEO
@pytest.mark.parametrize("make", [images.image, images.index], ids=["image", "index"])
async def test_skopeo_reads_what_we_wrote(bench: LayoutBench, tmp_path: Path, make: object) -> None:
    assert callable(make)
    artifact: images.Artifact = make(1)
    await bench.put_image(images.image(9), TagName("docker.io", "library/other", "latest"))
    await bench.put_image(artifact, NAME)

    raw = await skopeo("inspect", "--raw", f"oci:{bench.root}:{NAME}")
    await skopeo("copy", "--all", f"oci:{bench.root}:{NAME}", f"dir:{tmp_path / 'out'}")

    assert Digest.of(raw.encode()) == root_of(artifact)
    copied = {path.name for path in (tmp_path / "out").iterdir()}
    assert {blob.digest.removeprefix("sha256:") for blob in artifact.blobs} <= copied


@SKOPEO
async def test_what_skopeo_writes_is_shared(bench: LayoutBench, tmp_path: Path) -> None:
    source = LayoutBench(tmp_path / "source", 1)
    await source.writer.create()
    # skopeo would compress what is not.
    artifact = images.image(1, [0, MIB], compressed=True)
    await source.put_image(artifact, NAME)
    await bench.put_image(images.image(2), TagName("docker.io", "library/other", "latest"))

    await skopeo(
        "copy", "--preserve-digests", f"oci:{source.root}:{NAME}", f"oci:{bench.root}:quay.io/a/b:v2"
    )
    theirs = TagName("quay.io", "a/b", "v2")
    await bench.witness.until(lambda: theirs in bench.witness.tags)

    assert TagName("docker.io", "library/other", "latest") in bench.store.tags()
    for blob in (*artifact.blobs, artifact.root):
        assert await read_all(bench.store, Digest.parse(blob.digest)) == content_of(blob)
    assert not (await bench.writer.gc(grace=0)).blobs
    # And ours goes on in what skopeo wrote.
    await bench.put_image(images.image(3), NAME)
    names = {e["annotations"]["org.opencontainers.image.ref.name"] for e in entries(bench.root)}
    assert names == {"docker.io/library/other:latest", "quay.io/a/b:v2", str(NAME)}


def entries(root: Path) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = json.loads((root / "index.json").read_bytes())["manifests"]
    return found


def test_a_tag_that_another_program_writes_while_ours_is_on_its_way_is_not_lost(tmp_path: Path) -> None:
    layout = LayoutDirectory(tmp_path / "layout")
    layout.create()
    target = Descriptor(Digest.of(b"x"), 1, "application/vnd.oci.image.manifest.v1+json")
    theirs = TagName("registry.test", "theirs", "v1")
    faster = iter([True, True])

    def change(index: ImageIndex) -> ImageIndex:
        # skopeo knows no lock: it may write between our read and our rename.
        if next(faster, False):
            in_place = layout.read_index().with_tag(theirs, target, 1.0)
            (layout.path / INDEX_NAME).write_bytes(in_place.encode() + b"\n")
        return index.with_tag(NAME, target, 2.0)

    layout.change_index(change)

    assert {entry.tag for entry in layout.read_index().entries} == {NAME, theirs}


def test_another_program_that_writes_without_end_does_not_keep_ours_out(tmp_path: Path) -> None:
    layout = LayoutDirectory(tmp_path / "layout")
    layout.create()
    target = Descriptor(Digest.of(b"x"), 1, "application/vnd.oci.image.manifest.v1+json")

    def change(index: ImageIndex) -> ImageIndex:
        (layout.path / INDEX_NAME).write_bytes(layout.read_index().encode() + b"\n")
        return index.with_tag(NAME, target, 2.0)

    layout.change_index(change)

    assert [entry.tag for entry in layout.read_index().entries] == [NAME]
