"""The directory between real processes over image layouts: first lookups, and a death."""

from __future__ import annotations

import hashlib
import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.client import Connection, get_json
from benchmarks.harness import Bench, median, quantile
from benchmarks.programs import HOST, free_port, write_key
from lab.node import PROGRAM
from lab.process import Process, wait_until

START_TIMEOUT = 120.0
COMMITS = 20


class LayoutNode:
    """One of our nodes over an image layout."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.registry, self.peers, self.status = free_port(), free_port(), free_port()
        self.blobs = self.directory / "layout" / "blobs" / "sha256"
        self.process: Process | None = None

    def start(self, key_file: Path, seeds: list[int], stack: ExitStack) -> None:
        """Start it without waiting."""
        flags = [
            f"--node-name={self.name}", f"--advertise-address={HOST}", f"--cluster-key-file={key_file}",
            f"--registry-listen={HOST}:{self.registry}", f"--peer-listen={HOST}:{self.peers}",
            f"--status-listen={HOST}:{self.status}", f"--state-dir={self.directory}", "--store=layout",
            f"--layout-root={self.directory / 'layout'}", "--no-write-hosts",
            *(f"--seed={HOST}:{port}" for port in seeds),
        ]  # fmt: skip
        self.process = Process([str(PROGRAM), "run", *flags], log=self.directory / "node.log")
        stack.callback(self.process.kill)

    def put(self, content: bytes) -> str:
        """Write a blob into its layout and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs.mkdir(parents=True, exist_ok=True)
        temporary = self.blobs.parent / digest
        temporary.write_bytes(content)
        temporary.rename(self.blobs / digest)
        return f"sha256:{digest}"

    def alive(self) -> int:
        """How many members it counts as alive."""
        try:
            return int(get_json(HOST, self.status, "/api/status.json")["members"]["alive"])
        except (OSError, KeyError, ValueError):
            return 0

    def holders(self, digest: str) -> list[str]:
        """Whom its lookup names."""
        shape = get_json(HOST, self.status, f"/api/holders.json?key={digest}")
        return [one["name"] for one in shape.get("holders", [])]


def measure_processes(bench: Bench, size: int) -> None:
    """A first lookup between real processes: a manifest that one has, and one that nobody has."""
    bench.progress(f"{size} processes")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-directory-")))
        key_file = write_key(directory)
        nodes = [LayoutNode(f"node-{number}", directory) for number in range(size)]
        for node in nodes:
            node.start(key_file, [nodes[0].peers] if node is not nodes[0] else [], stack)
        for node in nodes:
            wait_until(lambda node=node: node.alive() == size, what=f"{size} members", timeout=START_TIMEOUT)  # type: ignore[misc]
        count = 60 if bench.is_short else 400
        digests = [nodes[0].put(manifest(number, bench.seed)) for number in range(count)]
        wait_until(
            lambda: "node-0" in nodes[1].holders(digests[-1]), what="the last manifest", timeout=START_TIMEOUT
        )
        time.sleep(5.0)
        found = ask_each(nodes[1:], digests, 200)
        nobody = ask_each(
            nodes, [f"sha256:{hashlib.sha256(f'nobody {n}'.encode()).hexdigest()}" for n in range(count)], 404
        )
        for name, seconds in (("a manifest from a peer, first time", found), ("nobody has it", nobody)):
            bench.figure(f"{size} processes: {name}, p50 ms", median(seconds) * 1e3)
            bench.figure(f"{size} processes: {name}, p99 ms", quantile(seconds, 0.99) * 1e3)
            bench.at_most(f"{size} processes: {name}, p50 ms", median(seconds) * 1e3, 4.0)
        bench.at_most(f"{size} processes: nobody has it, p99 ms", quantile(nobody, 0.99) * 1e3, 15.0)
        measure_commits(bench, nodes)
        measure_death(bench, nodes, digests[0])


def manifest(number: int, seed: int) -> bytes:
    """A small index that names nothing."""
    return (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],'
        f'"annotations":{{"number":"{seed}-{number}"}}}}'
    ).encode()


def ask_each(nodes: list[LayoutNode], digests: list[str], status: int) -> list[float]:
    """Seconds of one request for each digest, the nodes in turn."""
    connections = [Connection(HOST, node.registry) for node in nodes]
    seconds = []
    for connection in connections:
        connection.get("/v2/")
    for number, digest in enumerate(digests):
        connection = connections[number % len(connections)]
        started_at = time.perf_counter()
        answer = connection.get(f"/v2/bench/manifests/{digest}?ns=registry.example")
        seconds.append(time.perf_counter() - started_at)
        if answer.status != status:
            raise RuntimeError(f"{digest} answered {answer.status}, not {status}")
    return seconds


def measure_commits(bench: Bench, nodes: list[LayoutNode]) -> None:
    """From a file's rename in one node's layout until a lookup of another names that node.

    One other, asked again and again: to ask all of them takes longer than the news.
    """
    taken = []
    for number in range(COMMITS):
        holder, other = nodes[number % len(nodes)], nodes[(number + 1) % len(nodes)]
        digest = holder.put(manifest(1_000_000 + number, bench.seed))
        started_at = time.perf_counter()
        while holder.name not in other.holders(digest):
            pass
        taken.append(time.perf_counter() - started_at)
    bench.figure(f"{len(nodes)} processes: commit to found by another node, p50 ms", median(taken) * 1e3)
    bench.figure(f"{len(nodes)} processes: commit to found by another node, most ms", max(taken) * 1e3)


def measure_death(bench: Bench, nodes: list[LayoutNode], digest: str) -> None:
    """From the death of the only holder until no node names it."""
    victim, *others = nodes
    if victim.process is None:
        return
    victim.process.kill()
    started_at = time.monotonic()
    named = {node.name: node for node in others}
    while named and time.monotonic() - started_at < START_TIMEOUT:
        for node in list(named.values()):
            if victim.name not in node.holders(digest):
                del named[node.name]
        time.sleep(0.1)
    bench.figure(f"{len(nodes)} processes: death to named by nobody, s", time.monotonic() - started_at)
    bench.figure(
        "largest of our own processes here, MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
