"""How fast bytes go: one hop and two beside nginx, manifests, misses, many clients, cold disks, memory.

Every comparison is of pairs: one transfer by us, one by nginx, in turn, and the ratio of each pair counts.
Neighbours on the machine slow both halves of a pair down alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.blob_lateness import lateness
from benchmarks.blob_requests import cluster_of, manifests, small_blobs
from benchmarks.blob_stage import Stage, blob_path, set_up, temporary_directory
from benchmarks.client import Connection, drain_all
from benchmarks.harness import Bench, median, run
from benchmarks.programs import HOST, Node, make_blob, write_key
from shell.wire.certificates import Authority

GIGABYTE = 1e9


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
        if bench.wants("small"):
            small_blobs(bench, stage)
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


if __name__ == "__main__":
    run("blobs", __doc__ or "", measure)
