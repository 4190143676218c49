"""Small answers: manifests from here and from a peer, what nobody has, and ten thousand small blobs."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.blob_stage import Stage, blob_path
from benchmarks.client import Connection, fetch_all
from benchmarks.harness import Bench, median, quantile
from benchmarks.programs import HOST, Node, write_key
from lab import images

IMPORT_TIMEOUT = 300.0
"""Seconds for ten thousand blobs, each of which containerd writes to its disk before the next."""


def manifests(bench: Bench, stage: Stage) -> None:
    """A manifest from the local store, again and again over one connection; and what is nowhere."""
    image = images.image(bench.seed)
    path = ingest_manifest(stage.a, image, stage.directory)
    stage.b.wait_holder(image.root.digest, "a")
    times = latencies(stage.a, [path] * (300 if bench.is_short else 2000))
    bench.figure("manifest, local: p50 ms", median(times) * 1e3)
    bench.figure("manifest, local: p99 ms", quantile(times, 0.99) * 1e3)
    bench.at_most("manifest, local: p50 ms", median(times) * 1e3, 1.5)


def small_blobs(bench: Bench, stage: Stage) -> None:
    """Ten thousand small blobs over eight connections, from the holder and through the mirror."""
    count = 1_000 if bench.is_short else 10_000
    bench.progress(f"{count} small blobs")
    digests = import_blobs(stage, count, random.Random(bench.seed))
    served = stage.directory / "www" / "v2" / "bench" / "blobs"
    for digest in digests:
        os.link(stage.a.containerd.blob_path(digest), served / digest)
    for digest in digests[:: count // 50]:
        stage.b.wait_holder(digest, stage.a.name)
    paths = [blob_path(digest) for digest in digests]
    both_nginx = [stage.origin, stage.proxy]
    for name, port, programs in (
        ("one hop", stage.a.registry, [stage.a.process]),
        ("one hop, nginx", stage.origin_port, both_nginx),
        ("two hops", stage.b.registry, [stage.a.process, stage.b.process]),
        ("two hops, nginx buffered", stage.buffered_port, both_nginx),
    ):
        before = sum(program.cpu_seconds() for program in programs)
        seconds = fetch_all(port, paths, connections=8)
        cpu = sum(program.cpu_seconds() for program in programs) - before
        bench.figure(f"{count} small blobs, {name}: a second", count / seconds)
        bench.figure(f"{count} small blobs, {name}: CPU ms each", cpu / count * 1e3)


def import_blobs(stage: Stage, count: int, rng: random.Random) -> list[str]:
    """Put an image of so many small layers into node a's containerd; returns the layers' digests."""
    config = images.Blob.of(images.CONFIG, json.dumps({"architecture": "amd64", "os": "linux"}).encode())
    layers = [images.Blob.of(images.LAYER, rng.randbytes(rng.randrange(1_000, 20_000))) for _ in range(count)]
    described = [layer.descriptor() for layer in layers]
    document = {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": config.descriptor()}
    manifest = images.Blob.of(images.MANIFEST, json.dumps({**document, "layers": described}).encode())
    named = manifest.descriptor(annotations={"io.containerd.image.name": "bench.example/small:1"})
    files = {f"blobs/{blob.digest.replace(':', '/')}": blob.head for blob in (config, manifest, *layers)}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    archive = stage.directory / "small.tar"
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    argv = ("images", "import", "--no-unpack", "--all-platforms", str(archive))
    stage.a.containerd.ctr(*argv, timeout=IMPORT_TIMEOUT)
    archive.unlink()
    return [layer.digest for layer in layers]


def cluster_of(bench: Bench, stack: ExitStack, directory: Path, count: int) -> None:
    """Manifests from a peer, and what nobody has, in a cluster of some size."""
    bench.progress(f"starting {count} nodes")
    key = write_key(directory)
    # Whose store is empty needs no containerd to say so.
    nodes = [Node(f"n{number}", directory, stack, has_containerd=number == 0) for number in range(count)]
    first, asker = nodes[0], nodes[1]
    wanted = 30 if bench.is_short else 100
    paths, last = [], ""
    for number in range(wanted):
        image = images.image(bench.seed * 10_000 + number)
        paths.append(ingest_manifest(first, image, directory))
        last = image.root.digest
    for node in nodes:
        node.start(key, nodes[:2])
    for node in nodes:
        node.wait_members(count)
    asker.wait_holder(last, first.name)
    time.sleep(3.0)  # what follows a join is not what is measured
    latencies(asker, [path_of_nothing(random.Random(0))] * 20)
    times, cpu = costed(nodes, asker, paths)
    bench.figure(f"manifest from a peer, {count} nodes: CPU ms, all nodes", cpu * 1e3)
    report(bench, f"manifest from a peer, {count} nodes", times, p50=4, p99=None)
    rng = random.Random(bench.seed)
    times, cpu = costed(nodes, asker, [path_of_nothing(rng) for _ in range(wanted * 3)], status=404)
    bench.figure(f"404, {count} nodes: CPU ms, all nodes", cpu * 1e3)
    report(bench, f"404, {count} nodes", times, p50=4, p99=15)


def costed(
    nodes: list[Node], asker: Node, paths: list[str], *, status: int | None = None
) -> tuple[list[float], float]:
    """Latencies, and the CPU seconds of one request in all nodes: what no neighbour can add to."""
    before = sum(node.process.cpu_seconds() for node in nodes)
    times = latencies(asker, paths, status=status)
    return times, (sum(node.process.cpu_seconds() for node in nodes) - before) / len(paths)


def report(bench: Bench, name: str, times: list[float], *, p50: float, p99: float | None) -> None:
    """Record a latency and hold it against its bars, in milliseconds."""
    bench.figure(f"{name}: p50 ms", median(times) * 1e3)
    bench.figure(f"{name}: p99 ms", quantile(times, 0.99) * 1e3)
    bench.at_most(f"{name}: p50 ms", median(times) * 1e3, p50)
    if p99 is not None:
        bench.at_most(f"{name}: p99 ms", quantile(times, 0.99) * 1e3, p99)


def path_of_nothing(rng: random.Random) -> str:
    """The path of a manifest that is nowhere."""
    return f"/v2/bench/manifests/sha256:{rng.getrandbits(256):064x}"


def ingest_manifest(node: Node, image: images.Artifact, directory: Path) -> str:
    """Put an image's manifest into a node's containerd, and return its path at a registry."""
    source = directory / "manifest"
    source.write_bytes(b"".join(image.root.chunks()))
    node.ingest(source, image.root.digest)
    return f"/v2/bench/manifests/{image.root.digest}"


def latencies(node: Node, paths: list[str], *, status: int | None = None) -> list[float]:
    """Seconds of each request, one after the other over one connection."""
    times = []
    with Connection(HOST, node.registry) as connection:
        for path in paths:
            began = time.monotonic()
            answer = connection.get(path)
            times.append(time.monotonic() - began)
            if status is not None and answer.status != status:
                raise RuntimeError(f"{path} answered {answer.status}")
    return times
