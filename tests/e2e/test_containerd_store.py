import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from zlib import crc32

import pytest
import trio

from e2e.containerd_bench import ContainerdBench, config_of, ctr
from lab import images
from lab.absent import not_run
from lab.cluster import Lab, missing_for_lab
from lab.containerd import ContainerdMissingError
from shell.stores.conformance import MIB, PATIENCE, StoreConformance, content_of, read_all, root_of
from spegel_gossip.content import BlobRemoved, ContentNotFoundError, PartialChanged
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

STORE_WITHOUT_ROOT = Path(__file__).with_name("store_without_root.py")
CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")


@pytest.fixture(scope="module")
def one_node(containerd_version: str) -> Iterator[Lab]:
    reason = missing_for_lab()
    if reason is not None:
        not_run(reason)
    try:
        lab = Lab(nodes=1, containerd=containerd_version)
    except ContainerdMissingError as error:
        not_run(str(error))
    with lab:
        yield lab


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest, one_node: Lab, tmp_path: Path, nursery: trio.Nursery
) -> AsyncIterator[ContainerdBench]:
    containerd = one_node.nodes[0].containerd
    containerd.begin_start()
    await trio.to_thread.run_sync(containerd.wait_ready)
    bench = ContainerdBench(
        containerd, crc32(request.node.name.encode()), tmp_path, config_of(containerd, tmp_path)
    )
    # containerd collects 0.1 s after its start, unless it has collected by then; what a test
    # ingests without a lease must not be what it finds.
    await bench.collect()
    nursery.start_soon(bench.store.run, bench.witness.emit)
    await bench.witness.until(lambda: bench.store.availability().is_connected)
    yield bench
    bench.end()


class TestContainerdStore(StoreConformance):
    """containerd's content as a store, by the promises of the port."""


def named(bench: ContainerdBench, what: str) -> TagName:
    return TagName("registry.test", f"{what}-{bench.seed}", "v1")


async def test_a_pull_in_progress_is_a_partial_that_can_be_tailed(
    bench: ContainerdBench, one_node: Lab
) -> None:
    node, witness = one_node.nodes[0], bench.witness
    artifact = images.image(bench.seed, [8 * MIB])
    layer = next(Digest.parse(one.digest) for one in artifact.blobs if one.size == 8 * MIB)
    reference = one_node.registry.push(artifact, f"slow-{bench.seed}")
    node.namespace.limit_bandwidth(50)
    pull = node.containerd.begin_pull(reference, log=bench.directory / "pull.log")
    try:
        await witness.until(lambda: layer in witness.partials and witness.partials[layer].offset >= MIB)
        partial = await bench.store.open_partial(layer)
        assert partial.total == 8 * MIB
        tailed = b""
        with trio.fail_after(PATIENCE):
            while len(tailed) < partial.total:
                status = partial.poll()
                assert status is not None
                tailed += os.pread(partial.fileno(), status.offset - len(tailed), len(tailed))
                await trio.sleep(0.02)
    finally:
        await trio.to_thread.run_sync(pull.wait)
        node.namespace.lift_bandwidth_limit()

    assert pull.returncode == 0
    assert layer.matches(tailed)
    await partial.aclose()
    await witness.until(lambda: layer in witness.blobs and layer not in witness.partials)
    await witness.until(lambda: TagName.parse(reference) in witness.tags)
    changes = [
        event for event in witness.events if isinstance(event, PartialChanged) and event.digest == layer
    ]
    offsets = [event.status.offset for event in changes]
    assert offsets == sorted(offsets)
    assert len(offsets) >= 4


async def test_what_changed_out_of_sight_is_found_on_return(bench: ContainerdBench) -> None:
    witness = bench.witness
    kept, gone, late = (named(bench, what) for what in ("kept", "gone", "late"))
    await bench.put_image(images.image(bench.seed), kept)
    await bench.put_image(images.image(bench.seed + 1), gone)
    await witness.until(lambda: {kept, gone} <= witness.tags.keys())

    await bench.hide_socket()
    await witness.until(lambda: "does not exist" in bench.store.availability().reason)
    await bench.remove_image(gone)
    await bench.put_image(images.image(bench.seed + 2), late)
    # What vanishes is seen on disk; what is new is nobody's before containerd says whose.
    await witness.until(lambda: gone not in witness.tags)
    assert {kept, late} & witness.tags.keys() == {kept}

    bench.show_socket()
    await witness.until(lambda: late in witness.tags)
    assert gone not in witness.tags
    assert kept in witness.tags
    assert witness.blobs == bench.store.blobs()


async def test_a_containerd_that_hangs_is_noticed_and_served_without(bench: ContainerdBench) -> None:
    artifact = images.image(bench.seed)
    await bench.put_image(artifact, named(bench, "held"))
    await bench.witness.until(lambda: named(bench, "held") in bench.witness.tags)
    pid = bench.pid()

    os.kill(pid, signal.SIGSTOP)
    try:
        await bench.witness.until(lambda: not bench.store.availability().is_connected)
        assert "does not answer" in bench.store.availability().reason
        assert await read_all(bench.store, root_of(artifact)) == content_of(artifact.root)
    finally:
        os.kill(pid, signal.SIGCONT)

    await bench.witness.until(lambda: bench.store.availability().is_connected)


async def test_a_blob_that_left_the_disk_alone_is_withdrawn_when_it_is_asked_for(
    bench: ContainerdBench,
) -> None:
    artifact = images.image(bench.seed)
    layer = Digest.parse(artifact.blobs[-1].digest)
    await bench.put_image(artifact, named(bench, "damaged"))
    await bench.witness.until(lambda: named(bench, "damaged") in bench.witness.tags)

    # Cut, not removed: no file has come or gone, so only serving it can tell.
    os.truncate(bench.containerd.blob_path(str(layer)), 10)

    with pytest.raises(ContentNotFoundError):
        await bench.store.open(layer)
    await bench.witness.until(lambda: named(bench, "damaged") not in bench.witness.tags)
    assert BlobRemoved(layer) in bench.witness.events
    assert layer not in bench.store.blobs()


async def test_content_of_another_namespace_is_not_ours(bench: ContainerdBench) -> None:
    data, ours = os.urandom(5_000), os.urandom(5_000)
    digest = Digest.of(data)
    await ctr(bench.containerd, "content", "ingest", f"layer-{digest}", data=data, namespace="other")
    await bench.put_blob(ours)
    await bench.witness.until(lambda: Digest.of(ours) in bench.witness.blobs)

    assert bench.containerd.blob_path(str(digest)).exists()
    assert digest not in bench.store.blobs()
    with pytest.raises(ContentNotFoundError):
        await bench.store.open(digest)
    with pytest.raises(ContentNotFoundError):
        await bench.store.open_partial(digest)


async def test_only_names_with_a_tag_are_tags(bench: ContainerdBench) -> None:
    artifact = images.image(bench.seed)
    name = named(bench, "named")
    await bench.put_image(artifact, name)
    # As the CRI plugin names them, beside the tag.
    for alias in (f"registry.test/{name.repository}@{artifact.root.digest}", artifact.root.digest):
        await ctr(bench.containerd, "images", "tag", str(name), alias)
    await ctr(bench.containerd, "images", "tag", str(name), f"index.docker.io/library/alias-{bench.seed}:v2")

    alias_name = TagName("docker.io", f"library/alias-{bench.seed}", "v2")
    await bench.witness.until(lambda: alias_name in bench.witness.tags)
    ours = [tag for tag, news in bench.witness.tags.items() if news.target.digest == root_of(artifact)]
    assert sorted(ours) == sorted([name, alias_name])


async def test_without_its_content_root_a_store_reads_through_containerd(bench: ContainerdBench) -> None:
    artifact = images.image(bench.seed, [6 * MIB])
    layer = next(one for one in artifact.blobs if one.size == 6 * MIB)
    name = named(bench, "rootless")
    await bench.put_image(artifact, name)
    ingest = await bench.begin_ingest(Digest.of(b"never finished"), 2 * MIB)
    await ingest.write(bytes(MIB))
    await bench.witness.until(lambda: Digest.of(b"never finished") in bench.witness.partials)

    # In a mount namespace where the content root is an empty directory, as in a pod without the volume.
    hidden = f"mount -t tmpfs none {bench.containerd.root} && exec {sys.executable} {STORE_WITHOUT_ROOT} "
    arguments = f"{bench.containerd.socket} {bench.containerd.root} {name} {layer.digest}"
    done = await trio.run_process(["unshare", "-m", "sh", "-c", hidden + arguments], capture_stdout=True)

    seen = json.loads(done.stdout)
    assert "mount the directory" in seen["reason"]
    assert seen["is_readable"]
    assert seen["tag"] == artifact.root.digest
    assert (seen["has_file"], seen["digest"]) == (False, layer.digest)
    assert seen["partials"][str(Digest.of(b"never finished"))] == [MIB, 2 * MIB]
    await ingest.abort()
