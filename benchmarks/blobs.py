"""How fast bytes go: one hop and two beside nginx, manifests, misses, many clients, cold disks, memory.

Every comparison is of pairs: one transfer by us, one by nginx, in turn, and the ratio of each pair counts.
Neighbours on the machine slow both halves of a pair down alike.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Connection, digest_of, drain_all
from benchmarks.harness import Bench, median, quantile, run
from benchmarks.programs import HOST, Nginx, Node, free_port, make_blob, write_key
from lab import images
from shell.wire.certificates import Authority

GIGABYTE = 1e9
NGINX_PROXY = """
    proxy_http_version 1.1; proxy_set_header Connection "";
    upstream origin {{ server {host}:{origin}; keepalive 64; }}
    server {{ listen {host}:{on}; proxy_buffering on; proxy_max_temp_file_size 0; proxy_buffers 16 64k;
             location / {{ proxy_pass http://origin; }} }}
    server {{ listen {host}:{off}; proxy_buffering off; proxy_buffer_size 256k; proxy_buffers 4 256k;
             location / {{ proxy_pass http://origin; }} }}
"""
BLKIO = Path("/sys/fs/cgroup/blkio")
COLD_READ_RATE = 50 << 20
"""Bytes a second of the throttled disk: eight blobs compete for that."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs: node a holds the blob, node b holds nothing; nginx serves the same file."""

    a: Node
    b: Node
    origin: Nginx
    proxy: Nginx
    origin_port: int
    buffered_port: int
    unbuffered_port: int
    digest: str
    size: int
    directory: Path

    @property
    def blob(self) -> str:
        """The path under which both our registries and nginx have the blob."""
        return blob_path(self.digest)


def blob_path(digest: str) -> str:
    """The path of a blob at a registry."""
    return f"/v2/bench/blobs/{digest}"


def measure(bench: Bench) -> None:
    """Run all parts."""
    size = 256 << 20 if bench.is_short else 1 << 30
    with ExitStack() as stack:
        directory = temporary_directory(stack)
        stage = set_up(bench, stack, directory, size)
        if bench.wants("idle"):
            time.sleep(2.0)
            memory(bench, stage, "idle", 88, 56)
        if bench.wants("hops"):
            one_hop(bench, stage)
            two_hops(bench, stage)
        if bench.wants("clients"):
            many_clients(bench, stage)
        if bench.wants("manifests"):
            manifests(bench, stage)
        if bench.wants("memory"):
            after_traffic(bench, stage)
        if bench.wants("lateness"):
            lateness(bench, stage)
    if bench.wants("tls"):
        with ExitStack() as stack:
            over_tls(bench, stack, temporary_directory(stack), size)
    if bench.wants("scale"):
        for count in (8,) if bench.is_short else (8, 30):
            with ExitStack() as stack:
                cluster_of(bench, stack, temporary_directory(stack), count)


def temporary_directory(stack: ExitStack) -> Path:
    """A directory that goes when the stack does."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spegel-gossip-bench-")))


def set_up(bench: Bench, stack: ExitStack, directory: Path, size: int) -> Stage:
    """Start two nodes and two nginx, and let one of each hold the same file."""
    bench.progress(f"starting two nodes and nginx, one blob of {size >> 20} MiB")
    key = write_key(directory)
    a = Node("a", directory, stack, has_containerd=True)
    b = Node("b", directory, stack, has_containerd=True)
    source = directory / "blob"
    digest = make_blob(source, size, bench.seed)
    on_disk = a.ingest(source, digest)
    source.unlink()
    a.start(key, [b])
    b.start(key, [a])
    for node in (a, b):
        node.wait_members(2)
    b.wait_holder(digest, "a")
    ports = [free_port() for _ in range(3)]
    # A hard link: both servers send the very same pages of the page cache.
    served = directory / "www" / "v2" / "bench" / "blobs"
    served.mkdir(parents=True)
    os.link(on_disk, served / digest)
    listen = f"server {{ listen {HOST}:{ports[0]}; root {directory}/www; }}"
    origin = Nginx("origin", directory, stack, listen)
    text = NGINX_PROXY.format(host=HOST, origin=ports[0], on=ports[1], off=ports[2])
    proxy = Nginx("proxy", directory, stack, text)
    for server, port in ((origin, ports[0]), (proxy, ports[1]), (proxy, ports[2])):
        server.wait_listening(port)
    for name, port in (("a", a.registry), ("b", b.registry), ("nginx", ports[0])):
        if digest_of(HOST, port, blob_path(digest)) != digest:
            raise RuntimeError(f"{name} sends wrong bytes")
    return Stage(a, b, origin, proxy, ports[0], ports[1], ports[2], digest, size, directory)


@dataclass(frozen=True)
class Contestant:
    """One way to the blob, and what the programs on it cost."""

    name: str
    port: int
    cpu: Callable[[], float]


def one_hop(bench: Bench, stage: Stage) -> None:
    """From the holder's disk to its client."""
    ours = Contestant("one hop", stage.a.registry, stage.a.process.cpu_seconds)
    nginx = Contestant("one hop, nginx", stage.origin_port, stage.origin.cpu_seconds)
    ratio, cpu = compare(bench, stage, [ours, nginx])
    bench.at_least("one hop: rate, of nginx's", ratio, 0.95)
    bench.at_most("one hop: CPU-s per GB", cpu, 0.30)


def two_hops(bench: Bench, stage: Stage) -> None:
    """From a peer through the mirror to its client."""
    ours = Contestant(
        "two hops", stage.b.registry, lambda: stage.a.process.cpu_seconds() + stage.b.process.cpu_seconds()
    )

    def both() -> float:
        return stage.origin.cpu_seconds() + stage.proxy.cpu_seconds()

    modes = [
        Contestant("two hops, nginx buffered", stage.buffered_port, both),
        Contestant("two hops, nginx unbuffered", stage.unbuffered_port, both),
    ]
    ratio, cpu = compare(bench, stage, [ours, *modes])
    bench.at_least("two hops: rate, of nginx's better mode", ratio, 0.95)
    bench.at_most("two hops: CPU-s per GB, both processes", cpu, 0.60)


def compare(bench: Bench, stage: Stage, contestants: list[Contestant]) -> tuple[float, float]:
    """Return the first one's rate by that of the best other (paired median), and its CPU-s per GB."""
    rounds = 3 if bench.is_short else 15
    bench.progress(f"{contestants[0].name}: {rounds} rounds")
    rates: dict[str, list[float]] = {one.name: [] for one in contestants}
    costs: dict[str, list[float]] = {one.name: [] for one in contestants}
    with ExitStack() as stack:
        links = {one.name: stack.enter_context(Connection(HOST, one.port)) for one in contestants}
        for number in range(rounds + 1):
            # Whoever goes first may find the caches colder, so each does in turn.
            turn = contestants if number % 2 else contestants[::-1]
            for one in turn:
                cpu, began = one.cpu(), time.monotonic()
                links[one.name].drain(stage.blob)
                seconds = time.monotonic() - began
                if number:  # the first round warms up
                    rates[one.name].append(stage.size / seconds / GIGABYTE)
                    costs[one.name].append((one.cpu() - cpu) / stage.size * GIGABYTE)
    for one in contestants:
        bench.figure(f"{one.name}: GB/s", median(rates[one.name]))
        bench.figure(f"{one.name}: CPU-s per GB", median(costs[one.name]))
    first, *others = contestants
    best = max(others, key=lambda one: median(rates[one.name]))
    ratio = median([mine / theirs for mine, theirs in zip(rates[first.name], rates[best.name], strict=True)])
    return ratio, median(costs[first.name])


def over_tls(bench: Bench, stack: ExitStack, directory: Path, size: int) -> None:
    """What it costs to encrypt between the nodes."""
    bench.progress("two nodes with TLS between them")
    key, authority = write_key(directory), Authority(directory)
    a = Node("a", directory, stack, has_containerd=True)
    b = Node("b", directory, stack, has_containerd=True)
    source = directory / "blob"
    digest = make_blob(source, size, bench.seed)
    a.ingest(source, digest)
    for node, other in ((a, b), (b, a)):
        files = authority.issue(f"tls-{node.name}")
        node.start(
            key,
            [other],
            f"--peer-tls-cert={files.certificate}",
            f"--peer-tls-key={files.key}",
            f"--peer-tls-ca={files.authority}",
        )
    for node in (a, b):
        node.wait_members(2)
    b.wait_holder(digest, "a")
    rates, costs = [], []
    with Connection(HOST, b.registry) as connection:
        for _ in range(2 if bench.is_short else 5):
            cpu, began = a.process.cpu_seconds() + b.process.cpu_seconds(), time.monotonic()
            connection.drain(blob_path(digest))
            rates.append(size / (time.monotonic() - began) / GIGABYTE)
            cost = a.process.cpu_seconds() + b.process.cpu_seconds() - cpu
            costs.append(cost / size * GIGABYTE)
    bench.figure("two hops, TLS between the nodes: GB/s", median(rates))
    bench.figure("two hops, TLS between the nodes: CPU-s per GB", median(costs))


def many_clients(bench: Bench, stage: Stage) -> None:
    """1, 8 and 64 clients at once, each over a connection of its own."""
    total = (1 if bench.is_short else 4) << 30
    for clients in (1, 8, 64):
        for name, port in (
            ("one hop", stage.a.registry),
            ("one hop, nginx", stage.origin_port),
            ("two hops", stage.b.registry),
            ("two hops, nginx buffered", stage.buffered_port),
        ):
            each = min(total // clients, stage.size)
            moved, began, spread = 0, time.monotonic(), 1.0
            while moved < total:
                done = drain_all(port, [stage.blob] * clients, count=each)
                moved += clients * each
                spread = done[-1] / done[0]
            rate = moved / (time.monotonic() - began) / GIGABYTE
            bench.figure(f"{name}, {clients} clients: GB/s", rate)
            if clients > 1:
                bench.figure(f"{name}, {clients} clients: last by first done", spread)


def manifests(bench: Bench, stage: Stage) -> None:
    """A manifest from the local store, again and again over one connection; and what is nowhere."""
    image = images.image(bench.seed)
    path = ingest_manifest(stage.a, image, stage.directory)
    stage.b.wait_holder(image.root.digest, "a")
    times = latencies(stage.a, [path] * (300 if bench.is_short else 2000))
    bench.figure("manifest, local: p50 ms", median(times) * 1e3)
    bench.figure("manifest, local: p99 ms", quantile(times, 0.99) * 1e3)
    bench.at_most("manifest, local: p50 ms", median(times) * 1e3, 1.5)


def after_traffic(bench: Bench, stage: Stage) -> None:
    """Memory after 10 GB through the mirror."""
    wanted = 1e9 if bench.is_short else 1e10
    with Connection(HOST, stage.b.registry) as connection:
        moved = 0
        while moved < wanted:
            moved += connection.drain(stage.blob)
    memory(bench, stage, f"after {wanted / 1e9:g} GB", 96, 56)


def memory(bench: Bench, stage: Stage, when: str, limit: float, anonymous_limit: float) -> None:
    """Resident memory of the nodes, the larger of both."""
    processes = [stage.a.process, stage.b.process]
    resident = max(process.resident_bytes() for process in processes) / (1 << 20)
    anonymous = max(process.anonymous_bytes() for process in processes) / (1 << 20)
    bench.figure(f"memory, {when}: MiB resident", resident)
    bench.figure(f"memory, {when}: MiB anonymous", anonymous)
    bench.at_most(f"memory, {when}: MiB resident", resident, limit)
    bench.at_most(f"memory, {when}: MiB anonymous", anonymous, anonymous_limit)


def lateness(bench: Bench, stage: Stage) -> None:
    """How late the loop runs with 64 streams from memory and 8 blobs that must come from a slow disk."""
    size = stage.size // 4
    cold = []
    for number in range(8):
        source = stage.directory / "cold"
        digest = make_blob(source, size, bench.seed * 1000 + number)
        on_disk = stage.a.ingest(source, digest)
        source.unlink()
        stage.b.wait_holder(digest, "a")
        cold.append((digest, on_disk))
    os.sync()
    for _, on_disk in cold:
        with on_disk.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with throttled_disk(bench, stage):
        before = lateness_buckets(stage.a)
        paths = [stage.blob] * 64 + [blob_path(digest) for digest, _ in cold]
        began = time.monotonic()
        drain_all(stage.a.registry, paths)
        bench.figure("lateness: seconds of load", time.monotonic() - began)
        late = late_quantile(before, lateness_buckets(stage.a), 0.99)
    bench.figure("lateness, 64 streams and 8 cold blobs: p99 ms at most", late * 1e3)
    bench.at_most("lateness: p99 ms", late * 1e3, 50)


@contextmanager
def throttled_disk(bench: Bench, stage: Stage) -> Iterator[None]:
    """Let node a read slowly from the disk, where the kernel lets us say so (cgroup v1)."""
    pid = stage.a.process.pid
    group = BLKIO / f"spegel-gossip-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        bench.figure("lateness: disk", "as fast as it is")
        yield
        return
    try:
        device = stage.directory.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        (group / "blkio.throttle.read_bps_device").write_text(f"{number} {COLD_READ_RATE}")
        # Each thread of its own: the worker threads that read are among them.
        (group / "cgroup.procs").write_text(str(pid))
        bench.figure("lateness: disk", f"{COLD_READ_RATE >> 20} MiB/s")
        yield
    finally:
        (BLKIO / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def lateness_buckets(node: Node) -> dict[float, float]:
    """The cumulated counts of the loop's lateness by upper bound."""
    found = re.findall(r'spegel_gossip_loop_lateness_seconds_bucket\{le="([^"]+)"\} (\S+)', node.metrics())
    return {float(bound): float(count) for bound, count in found}


def late_quantile(before: dict[float, float], after: dict[float, float], fraction: float) -> float:
    """The upper bound of the bucket in which the quantile of what came in between lies."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in after}
    total = counts[float("inf")]
    return min(bound for bound, count in counts.items() if count >= fraction * total)


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


if __name__ == "__main__":
    run("blobs", __doc__ or "", measure)
