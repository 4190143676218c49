"""How late the loop runs while many streams come from memory and others must wait for a slow disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.blob_stage import Stage, blob_path
from benchmarks.client import hold_load
from benchmarks.harness import Bench
from benchmarks.programs import Node, make_blob

BLKIO = Path("/sys/fs/cgroup/blkio")
COLD_SIZE = 1 << 30
COLD_READ_RATE = 50 << 20
"""Bytes a second of the throttled disk: eight blobs compete for that."""


def lateness(bench: Bench, stage: Stage) -> None:
    """64 streams from memory, and 8 blobs that must come from a slow disk, for a while."""
    cold = cold_blobs(bench, stage, size=COLD_SIZE // (8 if bench.is_short else 1))
    with throttled_disk(bench, stage):
        before = lateness_buckets(stage.a)
        paths = [stage.blob] * 64 + [blob_path(digest) for digest in cold]
        moved = hold_load(stage.a.registry, paths, seconds=5 if bench.is_short else 30)
        after = lateness_buckets(stage.a)
    bench.figure("lateness, 64 streams and 8 cold blobs: GB sent", moved / 1e9)
    bench.figure(
        "lateness, 64 streams and 8 cold blobs: p50 ms at most", late_quantile(before, after, 0.5) * 1e3
    )
    late = late_quantile(before, after, 0.99)
    bench.figure("lateness, 64 streams and 8 cold blobs: p99 ms at most", late * 1e3)
    bench.at_most("lateness: p99 ms", late * 1e3, 50)


def cold_blobs(bench: Bench, stage: Stage, *, size: int) -> list[str]:
    """Eight blobs that node a holds and nobody has read since; returns their digests."""
    bench.progress(f"eight cold blobs of {size >> 20} MiB")

    def make(number: int) -> tuple[str, Path]:
        source = stage.directory / f"cold-{number}"
        digest = make_blob(source, size, bench.seed * 1000 + number)
        on_disk = stage.a.ingest(source, digest)
        source.unlink()
        return digest, on_disk

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        cold = list(workers.map(make, range(8)))
    os.sync()
    for digest, on_disk in cold:
        stage.b.wait_holder(digest, "a")
        with on_disk.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return [digest for digest, _ in cold]


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
