import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from shell.stores.layout_bench import blob_path, open_new, put, ref_of
from spegel_gossip.content import (
    ContentMismatchError,
    ContentNotFoundError,
    ContentStoreUnavailableError,
    ContentWriter,
    Ingest,
)
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.ingest_file import open_ingest_file
from spegel_gossip.stores.layout.locks import LockedError
from spegel_gossip.stores.layout.writer import LayoutWriter

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(3 * MIB + 5)
DIGEST = Digest.of(DATA)
NAME = TagName("registry.test", "app", "v1")


@pytest.fixture
async def writer(tmp_path: Path) -> LayoutWriter:
    writer = LayoutWriter(tmp_path / "layout", time.time)
    await writer.create()
    return writer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "layout"


def ingest_of(root: Path, digest: Digest) -> Path:
    return root / "ingest" / f"{digest.algorithm}-{digest.hex}"


async def test_it_is_what_the_port_asks_for(writer: LayoutWriter) -> None:
    port: ContentWriter = writer
    ingest = await port.open_ingest(ref_of(DIGEST), DIGEST, len(DATA))

    assert isinstance(ingest, Ingest)
    await ingest.abort()


async def test_an_ingest_has_its_ref_and_total_before_its_first_byte(
    writer: LayoutWriter, root: Path
) -> None:
    ingest = await open_new(writer, DIGEST, len(DATA))

    path = ingest_of(root, DIGEST)
    assert (path / "ref").read_text() == ref_of(DIGEST)
    assert (path / "total").read_text() == str(len(DATA))
    assert (path / "data").stat().st_size == 0
    await ingest.write(DATA[:MIB])
    assert (path / "data").read_bytes() == DATA[:MIB]
    await ingest.abort()
    assert not path.exists()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_committed_blob_is_there_read_only_and_its_ingest_gone(
    writer: LayoutWriter, root: Path, algorithm: str
) -> None:
    hasher = Digest(algorithm, "").hasher()
    hasher.update(DATA)
    digest = Digest(algorithm, hasher.hexdigest())
    ingest = await open_new(writer, digest, len(DATA))
    await ingest.write(DATA)
    assert not blob_path(root, digest).exists()

    await ingest.commit()

    assert blob_path(root, digest).read_bytes() == DATA
    assert blob_path(root, digest).stat().st_mode & 0o777 == 0o444
    assert not ingest_of(root, digest).exists()
    assert await writer.open_ingest(ref_of(digest), digest, len(DATA)) is None


async def test_a_second_ending_is_nothing(writer: LayoutWriter, root: Path) -> None:
    ingest = await open_new(writer, DIGEST, len(DATA))
    await ingest.write(DATA)
    await ingest.commit()

    await ingest.abort()
    await ingest.keep()

    assert blob_path(root, DIGEST).exists()


@pytest.mark.parametrize(
    ("total", "pieces"),
    [
        (len(DATA), [DATA[:-1]]),
        (len(DATA), [DATA[:-1] + b"x"]),
        (0, [DATA[:-1]]),
        (0, [DATA, b"x"]),
        (0, []),
    ],
    ids=["short", "wrong", "short of unknown", "long of unknown", "empty"],
)
async def test_bytes_that_are_not_the_blob_never_become_one(
    writer: LayoutWriter, root: Path, total: int, pieces: list[bytes]
) -> None:
    ingest = await open_new(writer, DIGEST, total)
    for piece in pieces:
        await ingest.write(piece)

    with pytest.raises(ContentMismatchError, match=str(DIGEST)):
        await ingest.commit()

    assert not blob_path(root, DIGEST).exists()
    assert not ingest_of(root, DIGEST).exists()
    await put(writer, DATA)
    assert blob_path(root, DIGEST).read_bytes() == DATA


async def test_more_bytes_than_announced_are_refused_as_they_come(writer: LayoutWriter, root: Path) -> None:
    ingest = await open_new(writer, DIGEST, 10)
    await ingest.write(DATA[:8])

    with pytest.raises(ContentMismatchError, match="10"):
        await ingest.write(DATA[8:11])

    assert not ingest_of(root, DIGEST).exists()


async def test_an_ingest_that_was_kept_is_resumed_where_it_stopped(writer: LayoutWriter, root: Path) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    await first.write(DATA[: 2 * MIB])
    await first.keep()

    second = await open_new(writer, DIGEST, 0)
    assert (second.offset, second.total) == (2 * MIB, len(DATA))
    await second.write(DATA[2 * MIB :])
    await second.commit()

    assert blob_path(root, DIGEST).read_bytes() == DATA


async def test_a_resumed_ingest_whose_bytes_rotted_does_not_become_a_blob(
    writer: LayoutWriter, root: Path
) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    await first.write(DATA[:MIB])
    await first.keep()
    # What a power cut leaves: the length is there, the bytes are not.
    (ingest_of(root, DIGEST) / "data").write_bytes(bytes(MIB))

    second = await open_new(writer, DIGEST, len(DATA))
    await second.write(DATA[second.offset :])
    with pytest.raises(ContentMismatchError):
        await second.commit()

    await put(writer, DATA)


async def test_a_leftover_longer_than_the_blob_is_begun_again(writer: LayoutWriter, root: Path) -> None:
    first = await open_new(writer, DIGEST, 0)
    await first.write(DATA + b"more")
    await first.keep()

    second = await open_new(writer, DIGEST, len(DATA))

    assert second.offset == 0
    await second.abort()


async def test_a_writer_killed_between_sealing_and_renaming_is_resumed(
    writer: LayoutWriter, root: Path
) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    await first.write(DATA)
    await first.keep()
    (ingest_of(root, DIGEST) / "data").chmod(0o444)

    second = await open_new(writer, DIGEST, len(DATA))

    assert second.offset == len(DATA)
    assert (ingest_of(root, DIGEST) / "data").stat().st_mode & 0o200
    await second.commit()


async def test_the_leftover_of_a_committed_blob_is_cleared_away(writer: LayoutWriter, root: Path) -> None:
    await put(writer, DATA)
    ingest_of(root, DIGEST).mkdir()
    (ingest_of(root, DIGEST) / "ref").write_text(ref_of(DIGEST))

    assert await writer.open_ingest(ref_of(DIGEST), DIGEST, len(DATA)) is None

    assert not ingest_of(root, DIGEST).exists()


async def test_a_second_writer_waits_and_finds_the_blob(writer: LayoutWriter, nursery: trio.Nursery) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    results: list[Ingest | None] = []
    waited = trio.Event()

    async def second() -> None:
        results.append(await writer.open_ingest(ref_of(DIGEST), DIGEST, len(DATA)))
        waited.set()

    nursery.start_soon(second)
    await first.write(DATA)
    assert not results
    await first.commit()
    with trio.fail_after(5):
        await waited.wait()

    assert results == [None]


async def test_a_second_writer_goes_on_when_the_first_gives_up(writer: LayoutWriter) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    await first.write(DATA[:MIB])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, writer, DATA)
        await trio.lowlevel.checkpoint()
        await first.keep()

    assert await writer.open_ingest(ref_of(DIGEST), DIGEST, len(DATA)) is None


async def test_many_writers_of_the_same_blobs_write_each_once(writer: LayoutWriter, root: Path) -> None:
    blobs = [random.Random(seed).randbytes(MIB) for seed in range(5)]
    written: list[Digest] = []

    async def pull(data: bytes) -> None:
        digest = Digest.of(data)
        # Each its own object, as it would be in another thread or process.
        ingest = await LayoutWriter(root, time.time).open_ingest(ref_of(digest), digest, len(data))
        if ingest is not None:
            written.append(digest)
            await ingest.write(data)
            await ingest.commit()

    async with trio.open_nursery() as nursery:
        for data in blobs * 8:
            nursery.start_soon(pull, data)

    assert sorted(written) == sorted(Digest.of(data) for data in blobs)


def test_an_ingest_that_ends_while_another_writer_comes_is_no_fault_of_the_disk(root: Path) -> None:
    layout = LayoutDirectory(root)
    root.mkdir()
    layout.create()

    def come_and_go(count: int) -> int:
        opened = 0
        while opened < count:
            with suppress(LockedError):
                ingest = open_ingest_file(layout, ref_of(DIGEST), DIGEST, len(DATA))
                assert ingest is not None
                ingest.abort()
                opened += 1
        return opened

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(come_and_go, [100] * 4)) == [100] * 4


async def test_what_is_no_ingest_but_has_its_name_is_told(writer: LayoutWriter, root: Path) -> None:
    ingest_of(root, DIGEST).write_text("somebody's notes")

    with pytest.raises(ContentStoreUnavailableError, match="look at the disk"):
        await writer.open_ingest(ref_of(DIGEST), DIGEST, len(DATA))


async def test_a_cancelled_wait_leaves_nothing_locked(writer: LayoutWriter) -> None:
    first = await open_new(writer, DIGEST, len(DATA))
    with trio.move_on_after(0.05) as scope:
        await writer.open_ingest(ref_of(DIGEST), DIGEST, len(DATA))
    assert scope.cancelled_caught

    await first.abort()

    with trio.fail_after(5):
        await put(writer, DATA)


async def test_a_full_disk_is_told_and_what_fitted_is_kept(writer: LayoutWriter, root: Path) -> None:
    ingest = await open_new(writer, DIGEST, len(DATA))
    await ingest.write(DATA[:MIB])
    # The next byte is one too many for every file of this process, as on a full disk.
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + 10, before[1]))
    try:
        with pytest.raises(ContentStoreUnavailableError, match="look at the disk"):
            await ingest.write(DATA[MIB:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    assert ingest.offset == MIB + 10
    await ingest.write(DATA[ingest.offset :])
    await ingest.commit()


async def test_a_ref_names_its_digest(writer: LayoutWriter) -> None:
    with pytest.raises(ValueError, match="does not end with"):
        await writer.open_ingest("layer", DIGEST, 1)


async def test_a_tag_names_what_is_held_and_nothing_else(writer: LayoutWriter, root: Path) -> None:
    with pytest.raises(ContentNotFoundError):
        await writer.tag(NAME, Descriptor(DIGEST, len(DATA), types.OCI_MANIFEST))
    await put(writer, DATA)

    await writer.tag(NAME, Descriptor(DIGEST, len(DATA), types.OCI_MANIFEST))

    (entry,) = json.loads((root / "index.json").read_bytes())["manifests"]
    assert (entry["digest"], entry["size"], entry["mediaType"]) == (
        str(DIGEST),
        len(DATA),
        types.OCI_MANIFEST,
    )
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == str(NAME)
    assert entry["annotations"]["io.containerd.image.name"] == str(NAME)


async def test_tags_set_at_the_same_time_are_all_kept(writer: LayoutWriter, root: Path) -> None:
    await put(writer, DATA)
    target = Descriptor(DIGEST, len(DATA), types.OCI_MANIFEST)
    names = [TagName("registry.test", "app", f"v{number}") for number in range(20)]

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(LayoutWriter(root, time.time).tag, name, target)

    entries = json.loads((root / "index.json").read_bytes())["manifests"]
    assert sorted(entry["annotations"]["io.containerd.image.name"] for entry in entries) == sorted(
        map(str, names)
    )
    await writer.untag(names[0])
    await writer.untag(names[0])
    assert len(json.loads((root / "index.json").read_bytes())["manifests"]) == 19


async def test_a_layout_is_made_once_and_never_of_something_else(tmp_path: Path) -> None:
    root = tmp_path / "layout"
    for _ in range(2):
        await LayoutWriter(root, time.time).create()
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}

    # The content store of a containerd: `gc` would empty it.
    (tmp_path / "containerd" / "blobs").mkdir(parents=True)
    with pytest.raises(ContentStoreUnavailableError, match="'blobs'"):
        await LayoutWriter(tmp_path / "containerd", time.time).create()
    (root / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(ContentStoreUnavailableError, match=r"2\.0\.0"):
        await LayoutWriter(root, time.time).create()
    with pytest.raises(ContentStoreUnavailableError, match="no image layout"):
        await LayoutWriter(tmp_path / "missing" / "layout", time.time).create()


async def test_nothing_is_written_where_there_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(ContentStoreUnavailableError):
        await LayoutWriter(tmp_path / "missing", time.time).open_ingest(ref_of(DIGEST), DIGEST, 1)

    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are compared
