"""The directory by what it costs and how true it is: simulated members, one owner alone, real processes.

Where membership takes part it is stood in for: a death is heard of after `DETECTION` seconds, as
benchmarks/membership.py measures it, and everybody hears within three more.
"""

from __future__ import annotations

import gc
import hashlib
import random
import resource
import tempfile
import time
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

from benchmarks.client import Connection, get_json
from benchmarks.harness import Bench, median, quantile, run
from benchmarks.programs import HOST, free_port, write_key
from lab.node import PROGRAM
from lab.process import Process, wait_until
from spegel_gossip.directory.advertisement import Advertisement
from spegel_gossip.directory.codec import encode
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.inquiry import Verdict, view_of
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import AckStatus, Advertise, AskedFor, Question, QuestionKey
from spegel_gossip.directory.records import Record, RecordKind
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import OWNERS, Ring
from spegel_gossip.testing.directories import SimDirectories

DETECTION = 8.0
MAX_DATAGRAM = 1_100
START_TIMEOUT = 120.0


def key(number: int) -> PackedKey:
    """One of any number of keys."""
    return pack_key(Digest.of(str(number).encode()))


def measure(bench: Bench) -> None:
    """Run the parts that are wanted."""
    if bench.wants("moves"):
        measure_moves(bench)
    if bench.wants("owner"):
        measure_owner(bench)
    if bench.wants("change"):
        measure_change(bench)
    if bench.wants("news"):
        measure_news(bench)
    if bench.wants("churn"):
        measure_churn(bench)
    if bench.wants("processes"):
        for size in (8,) if bench.is_short else (8, 30):
            measure_processes(bench, size)


# -- what a change of the ring moves, n = 1,000 -----------------------------------------------


def measure_moves(bench: Bench) -> None:
    """Records and bytes that holders tell after a join, a leave and a restart; some of them stand for all."""
    size, sample, held = (200, 20, 100) if bench.is_short else (1_000, 60, 200)
    rng = random.Random(bench.seed)
    zones = {f"node-{number}": "" for number in range(size)}
    before = Ring.of(zones)
    holders = {
        f"node-{number}": settled_holder(
            f"node-{number}", before, [key(number * held + own) for own in range(held)], rng
        )
        for number in range(sample)
    }
    joined = {f"join {number}": Ring.of({**zones, f"joiner-{number}": ""}) for number in range(5)}
    leavers = [f"node-{number}" for number in range(sample, sample + 5)]
    left = {f"leave {name}": Ring.of({other: "" for other in zones if other != name}) for name in leavers}
    total = sample * held * OWNERS
    for kind, rings in (("join", joined), ("leave", left)):
        moved = [moved_by(holders, before, ring, ()) for ring in rings.values()]
        ideal = total / (size + 1 if kind == "join" else size)
        bench.figure(f"{kind}, n={size}: records told over H*R/n", sum(one[0] for one in moved) / 5 / ideal)
        bench.figure(
            f"{kind}, n={size}: bytes told a record",
            sum(b for _, b in moved) / max(1, sum(r for r, _ in moved)),
        )
        if kind == "join":
            bench.at_most("a join's records over H*R/(n+1)", sum(one[0] for one in moved) / 5 / ideal, 1.2)
    again = [moved_by(holders, before, before, (name,)) for name in leavers]
    bench.figure(
        f"restart, n={size}: records told over H*R/n", sum(one[0] for one in again) / 5 / (total / size)
    )


def settled_holder(name: str, ring: Ring, keys: list[PackedKey], rng: random.Random) -> Advertisement:
    """A holder that has told everybody everything."""
    holder = Advertisement(name, 1, max_datagram=MAX_DATAGRAM, rng=random.Random(rng.getrandbits(32)))
    holder.ring_changed(ring, (), 0.0)
    for one in keys:
        holder.put(one, RecordKind.COMPLETE, 0.0, size=1)
    tell_all(name, holder, 0.0)
    return holder


def tell_all(name: str, holder: Advertisement, now: float) -> tuple[int, int]:
    """Let a holder tell until it has nothing more to say; return records and bytes that left the node."""
    records = told = 0
    while (at := holder.next_timer_at()) is not None:
        now = max(now, at)
        for telling in holder.handle_timer(now):
            if telling.owner != name:
                records += len(telling.message.records)
                told += len(encode(telling.message))
            holder.acknowledged(telling.owner, telling.message.id, AckStatus.OK, now)
    return records, told


def moved_by(
    holders: dict[str, Advertisement], before: Ring, after: Ring, renewed: tuple[str, ...]
) -> tuple[int, int]:
    """What a change makes these holders tell; afterwards they are as before."""
    records = told = 0
    for name, holder in holders.items():
        holder.ring_changed(after, renewed, 1_000.0)
        some, size = tell_all(name, holder, 1_000.0)
        records, told = records + some, told + size
        holder.ring_changed(before, (), 2_000.0)
        tell_all(name, holder, 2_000.0)
    return records, told


# -- one owner alone ----------------------------------------------------------------------------


def measure_owner(bench: Bench) -> None:
    """Memory for a share of 1,000 nodes with 10,000 blobs each, and questions answered a second."""
    size, each = (100, 30) if bench.is_short else (1_000, 30)
    rng = random.Random(bench.seed)
    engine = Directory("owner", 1, "", max_datagram=MAX_DATAGRAM, rng=rng)
    engine.start(0.0)
    gc.collect()
    tracemalloc.start()
    for number in range(size):
        name = f"holder-{number}"
        engine.member_alive(name, 1, "", 0.0)
        records = tuple(
            Record(key(rng.randrange(10_000)), RecordKind.COMPLETE, own + 1, 1_000) for own in range(each)
        )
        engine.receive(encode(Advertise(number, 1, 0, records)), name, 0.0, 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = sum(engine.tally().records.values())
    bench.figure(f"an owner's records of {size} holders", count)
    bench.figure("memory for them, MiB", held / 2**20)
    bench.figure("bytes a record", held / max(1, count))
    questions = [
        encode(Question(number, AskedFor.READ, (QuestionKey(one, view_of(("owner",))),)))
        for number, one in enumerate(key(rng.randrange(10_000)) for _ in range(2_000))
    ]
    started_at = time.process_time()
    for question in questions:
        engine.receive(question, "holder-1", 0.0, 0)
    bench.figure(
        "lookups answered a second of processor time", len(questions) / (time.process_time() - started_at)
    )


def measure_change(bench: Bench) -> None:
    """The longest time for which a change of the ring keeps the loop, at 2,000 keys held and 6,000 owned."""
    zones = {f"node-{number}": "" for number in range(1_000)}
    engine = Directory("node-0", 1, "", max_datagram=MAX_DATAGRAM, rng=random.Random(bench.seed))
    engine.start(0.0)
    for name in zones:
        engine.member_alive(name, 1, "", 0.0)
    engine.change_ring(Ring.of(zones), 1.0)
    for number in range(2_000):
        engine.put(key(number), 1.0, size=1)
    records = tuple(Record(key(10_000 + number), RecordKind.COMPLETE, number + 1) for number in range(4_000))
    for number, name in enumerate(("node-1", "node-2")):
        half = records[number * 2_000 : (number + 1) * 2_000]
        engine.receive(encode(Advertise(number, 1, 0, half)), name, 1.0, 0)
    joined = engine.ring.changed_to({**zones, "joiner": ""})
    engine.member_alive("joiner", 1, "", 2.0)
    slices = []
    change = engine.change_to(joined)
    more = True
    while more:
        started_at = time.process_time()
        more = change.look_at_some()
        slices.append(time.process_time() - started_at)
    started_at = time.process_time()
    engine.apply(change, 3.0)
    bench.figure("ring change, longest slice, ms", max(slices) * 1e3)
    bench.figure("ring change, applied at once, ms", (time.process_time() - started_at) * 1e3)
    bench.at_most(
        "ring change, held the loop for, ms", max(*slices, time.process_time() - started_at) * 1e3, 20.0
    )


# -- how true it is -------------------------------------------------------------------------------


def measure_news(bench: Bench) -> None:
    """From a commit until all owners name the holder, so that every node finds it."""
    cluster = grown(bench, 20 if bench.is_short else 60)
    taken = []
    for number in range(50):
        name = f"node-{number % len(cluster.members)}"
        one = key(1_000_000 + number)
        owners = cluster.members[name].engine.owners(one)
        cluster.put(name, one)
        started_at = cluster.now
        while not all(name in cluster.holders_named(owner, one) for owner in owners):
            cluster.run_for(0.002)
        taken.append(cluster.now - started_at)
    bench.figure("commit to found by every node, p50 ms", median(taken) * 1e3)
    bench.figure("commit to found by every node, p99 ms", quantile(taken, 0.99) * 1e3)


def measure_churn(bench: Bench) -> None:
    """Wrong lookups while one member in a hundred is replaced each minute."""
    size, minutes = (60, 5) if bench.is_short else (200, 10)
    cluster = grown(bench, size)
    cluster.detection = DETECTION
    rng = random.Random(bench.seed)
    keys = [key(number) for number in range(size * 3)]
    for number, one in enumerate(keys):
        for copy in range(3):
            cluster.put(f"node-{(number + copy * 7) % size}", one)
    cluster.run_for(60.0)
    held = {name: dict(member.held) for name, member in cluster.members.items()}
    every = 6_000.0 / size
    asked = missing = dead = 0
    next_at, down = cluster.now, ""
    end = cluster.now + minutes * 60.0
    while cluster.now < end:
        if cluster.now >= next_at:
            if down:
                cluster.start(down)
                for one in held[down]:
                    cluster.put(down, one)
            down = rng.choice(sorted(cluster.members))
            cluster.stop(down)
            next_at += every
        cluster.run_for(1.0)
        for _ in range(10):
            asker, one = rng.choice(sorted(cluster.members)), rng.choice(keys)
            if one in cluster.members[asker].held:
                continue
            asked += 1
            missing += cluster.look_up(asker, one) is not Verdict.FOUND
            dead += bool(cluster.names_found(asker, one) - set(cluster.members))
    bench.figure(f"lookups at 1 % churn a minute, n={size}", asked)
    bench.figure("of them missing what a member holds, %", 100 * missing / asked)
    bench.figure("of them naming a dead member among others, %", 100 * dead / asked)


def grown(bench: Bench, size: int) -> SimDirectories:
    """A cluster at rest."""
    bench.progress(f"{size} simulated members")
    cluster = SimDirectories(seed=bench.seed, max_delay=0.002)
    for number in range(size):
        cluster.start(f"node-{number}")
    cluster.run_for(60.0)
    return cluster


# -- real processes ---------------------------------------------------------------------------------


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
        count = 60 if bench.is_short else 200
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


if __name__ == "__main__":
    run("directory", __doc__ or "", measure)
