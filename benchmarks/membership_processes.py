"""What membership costs real nodes on loopback: eight, one of a thousand, fifty of which ten are killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.client import Connection, get_json
from benchmarks.harness import ROOT, Bench, median, run
from benchmarks.programs import HOST, cpu_seconds, write_key
from lab.node import PROGRAM
from lab.process import Process, wait_until

START_TIMEOUT = 180.0
"""Fifty processes import Python's half on two cores."""

FRAME_BYTES = 28
"""Of IPv4 and UDP around each datagram."""


def measure(bench: Bench) -> None:
    """Run the parts that are wanted."""
    if bench.wants("idle"):
        measure_idle(bench)
    if bench.wants("crowd"):
        measure_crowd(bench)
    if bench.wants("fifty"):
        measure_fifty(bench)


def unused_ports() -> Iterator[int]:
    """Yield ports that are free for TCP and UDP, none twice, all below those that the kernel gives away."""
    for port in range(20_000 + os.getpid() % 1000 * 10, 32_000):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((HOST, port))
                udp.bind((HOST, port))
            except OSError:
                continue
        yield port


_PORTS = unused_ports()


@dataclass(frozen=True)
class Spent:
    """What one process used between two looks."""

    cpu_percent: float
    sent_bytes_per_s: float
    sent_packets_per_s: float
    directory_packets: float


class IdleNode:
    """One node that has nothing to serve."""

    def __init__(self, name: str, directory: Path, stack: ExitStack) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.registry, self.peers, self.status = (next(_PORTS) for _ in range(3))
        self.log = self.directory / "node.log"
        self._stack = stack
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """Our running process."""
        if self._process is None:
            raise RuntimeError(f"node {self.name} was not started")
        return self._process

    def start(self, key: Path, seed_ports: Sequence[int]) -> None:
        """Start it without waiting."""
        flags = [
            f"--node-name={self.name}", f"--advertise-address={HOST}", f"--cluster-key-file={key}",
            f"--registry-listen={HOST}:{self.registry}", f"--peer-listen={HOST}:{self.peers}",
            f"--status-listen={HOST}:{self.status}", f"--state-dir={self.directory}", "--store=layout",
            f"--layout-root={self.directory / 'layout'}", "--no-write-hosts",
            *(f"--seed={HOST}:{port}" for port in seed_ports),
        ]  # fmt: skip
        self._process = process = Process([str(PROGRAM), "run", *flags], log=self.log)
        self._stack.callback(process.kill)

    def alive(self) -> int:
        """How many members it counts as alive; 0 while it does not answer."""
        try:
            return int(get_json(HOST, self.status, "/api/status.json")["members"]["alive"])
        except (OSError, KeyError, ValueError):
            return 0

    def wait_alive(self, count: int, *, timeout: float = START_TIMEOUT) -> float:
        """Wait until it counts so many; return how long that took."""
        return wait_until(
            lambda: self.alive() == count,
            what=f"{self.name} to see {count} members",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def sent(self, what: str, kind: str = "") -> float:
        """A counter of the wire, `datagrams` or `datagram_bytes`, in the direction out."""
        with Connection(HOST, self.status) as connection:
            text = connection.get("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"spegel_gossip_wire_{what}_total"
            and sample.labels["direction"] == "sent"
            and kind in {"", sample.labels["kind"]}
        )

    def resident_mib(self) -> tuple[float, float]:
        """Resident memory, and its anonymous part."""
        status = (Path("/proc") / str(self.process.pid) / "status").read_text()
        fields = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if "kB" in line}
        return int(fields["VmRSS"]) / 1024, int(fields["RssAnon"]) / 1024


def spend(nodes: Sequence[IdleNode], seconds: float) -> list[Spent]:
    """What each of the nodes uses in so many seconds."""
    # The looks themselves cost the nodes something, so CPU time is read between them.
    before = [counters(node) for node in nodes]
    began = [(time.monotonic(), cpu_seconds(node.process.pid)) for node in nodes]
    time.sleep(seconds)
    ended = [(time.monotonic(), cpu_seconds(node.process.pid)) for node in nodes]
    after = [counters(node) for node in nodes]
    return [
        Spent(
            cpu_percent=100 * (last[1] - first[1]) / (last[0] - first[0]),
            sent_bytes_per_s=(new[1] - old[1] + FRAME_BYTES * (new[2] - old[2])) / (new[0] - old[0]),
            sent_packets_per_s=(new[2] - old[2]) / (new[0] - old[0]),
            directory_packets=new[3] - old[3],
        )
        for old, new, first, last in zip(before, after, began, ended, strict=True)
    ]


def counters(node: IdleNode) -> tuple[float, float, float, float]:
    """The time, and bytes, datagrams and the directory's datagrams that a node has sent."""
    sent = node.sent("datagram_bytes"), node.sent("datagrams"), node.sent("datagrams", "directory")
    return time.monotonic(), *sent


@contextmanager
def workplace() -> Iterator[tuple[Path, Path, ExitStack]]:
    """A directory, a key, and what ends the processes."""
    with tempfile.TemporaryDirectory(prefix="membership-") as directory, ExitStack() as stack:
        yield Path(directory), write_key(Path(directory)), stack


def start_cluster(n: int, directory: Path, key: Path, stack: ExitStack) -> list[IdleNode]:
    """Start nodes that join through the first."""
    nodes = [IdleNode(f"node-{number:02d}", directory, stack) for number in range(n)]
    for node in nodes:
        node.start(key, [] if node is nodes[0] else [nodes[0].peers])
    return nodes


def wait_whole(nodes: Sequence[IdleNode]) -> None:
    """Wait until each of the nodes sees all of them; one that has ended is shown at once."""
    for node in nodes:
        wait_until(
            lambda node=node: node.alive() == len(nodes),  # type: ignore[misc]
            what=f"{node.name} to see {len(nodes)} members",
            timeout=START_TIMEOUT,
            logs=[one.log for one in nodes],
            still_possible=lambda: all(one.process.is_running() for one in nodes),
        )


def measure_idle(bench: Bench) -> None:
    """Eight nodes that have nothing to do."""
    with workplace() as (directory, key, stack):
        bench.progress("8 real nodes, idle")
        nodes = start_cluster(8, directory, key, stack)
        wait_whole(nodes)
        time.sleep(15 if bench.is_short else 60)
        spent = spend(nodes, 20 if bench.is_short else 90)
        report(bench, "idle_8", spent)
        bench.at_most("idle, n = 8, kB/s sent", max(one.sent_bytes_per_s for one in spent) / 1000, 0.5)
        bench.at_most("idle, n = 8, packets/s sent", max(one.sent_packets_per_s for one in spent), 3.0)
        bench.at_most("idle, n = 8, directory packets", sum(one.directory_packets for one in spent), 0)
        bench.at_most("idle, n = 8, % of a core, median", median([one.cpu_percent for one in spent]), 0.5)


def measure_crowd(bench: Bench) -> None:
    """One node in a cluster of a thousand, the others answered for by one process."""
    with workplace() as (directory, key, stack):
        bench.progress("1 real node, 999 answered for")
        port_file = directory / "port"
        argv = [
            sys.executable, "-m", "benchmarks.crowd", f"--key-file={key}", f"--port-file={port_file}",
        ]  # fmt: skip
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        crowd = Process(argv, log=directory / "crowd.log", environment={"PYTHONPATH": path})
        stack.callback(crowd.kill)
        wait_until(
            port_file.exists, what="the crowd", timeout=START_TIMEOUT, logs=[crowd.log],
            still_possible=crowd.is_running,
        )  # fmt: skip
        node = IdleNode("node", directory, stack)
        node.start(key, [int(port_file.read_text())])
        bench.figure("crowd_join_s", node.wait_alive(1000))
        time.sleep(20 if bench.is_short else 50)
        (spent,) = spend([node], 30 if bench.is_short else 90)
        report(bench, "crowd_1000", [spent])
        resident, anonymous = node.resident_mib()
        bench.figure("crowd_1000_resident_mib", resident)
        bench.figure("crowd_1000_anonymous_mib", anonymous)
        if node.alive() != 1000:
            raise RuntimeError("members were lost on the way: the crowd was too slow to answer")
        bench.at_most("idle, n = 1,000, % of a core", spent.cpu_percent, 1.0)
        bench.at_most("idle, n = 1,000, kB/s sent", spent.sent_bytes_per_s / 1000, 3.0)


def measure_fifty(bench: Bench) -> None:
    """A cluster of real processes on one machine, ten of which are killed at once."""
    n, killed = (12, 3) if bench.is_short else (50, 10)
    with workplace() as (directory, key, stack):
        bench.progress(f"{n} real nodes")
        began_at = time.monotonic()
        nodes = start_cluster(n, directory, key, stack)
        wait_whole(nodes)
        bench.figure(f"processes_{n}_started_and_joined_s", time.monotonic() - began_at)
        time.sleep(10 if bench.is_short else 30)
        report(bench, f"processes_{n}", spend(nodes, 20 if bench.is_short else 45))
        memory = [node.resident_mib() for node in nodes]
        bench.figure(f"processes_{n}_resident_mib_median", median([resident for resident, _ in memory]))
        bench.figure(f"processes_{n}_anonymous_mib_median", median([anonymous for _, anonymous in memory]))
        for node in nodes[:killed]:
            node.process.signal(signal.SIGKILL)
        began_at = time.monotonic()
        for node in nodes[killed:]:
            node.wait_alive(n - killed)
        bench.figure(f"processes_{n}_{killed}_killed_gone_everywhere_s", time.monotonic() - began_at)


def report(bench: Bench, name: str, spent: Sequence[Spent]) -> None:
    """Record the median node and the dearest."""
    for field in ("cpu_percent", "sent_bytes_per_s", "sent_packets_per_s"):
        values = [float(getattr(one, field)) for one in spent]
        bench.figure(f"{name}_{field}_median", median(values))
        if len(values) > 1:
            bench.figure(f"{name}_{field}_worst", max(values))


if __name__ == "__main__":
    run("membership_processes", __doc__ or "", measure)
