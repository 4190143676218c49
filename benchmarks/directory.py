"""The directory by what it costs and how true it is: simulated members, one owner alone, real processes.

Where membership takes part it is stood in for: a death is heard of after `DETECTION` seconds, as
benchmarks/membership.py measures it, and everybody hears within three more.
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc

from benchmarks.directory_processes import measure_processes
from benchmarks.directory_truth import key, measure_churn, measure_news
from benchmarks.harness import Bench, run
from spegel_gossip.directory.advertisement import Advertisement
from spegel_gossip.directory.codec import encode
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.inquiry import view_of
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.messages import AckStatus, Advertise, AskedFor, Question, QuestionKey
from spegel_gossip.directory.records import Record, RecordKind
from spegel_gossip.ring.ring import OWNERS, Ring

MAX_DATAGRAM = 1_100


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
    records, told = restarted(before, held, rng)
    bench.figure(f"restart, n={size}: what it tells itself, records of {held} keys", records)
    bench.figure(f"restart, n={size}: what it tells itself, bytes", told)


def restarted(ring: Ring, held: int, rng: random.Random) -> tuple[int, int]:
    """Records and bytes that a member tells, closings included, that comes back with all it had."""
    name = "node-0"
    holder = Advertisement(name, 2, max_datagram=MAX_DATAGRAM, rng=random.Random(rng.getrandbits(32)))
    for own in range(held):
        holder.put(key(own), RecordKind.COMPLETE, 0.0, size=1)
    holder.ring_changed(ring, (), 0.0)
    return tell_all(name, holder, 0.0)


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
    """Memory for a share of 1,000 nodes with 10,000 blobs each, and questions answered a second.

    Of 30,000 records, as many keys as there are blobs in the cluster over its members: all nodes with
    the same blobs, all with others, and what lies between.
    """
    size, share = (100, 3_000) if bench.is_short else (1_000, 30_000)
    for keys, what in (
        (size, "each key held by few"),
        (share // size, "all hold the same"),
        (share, "none shared"),
    ):
        engine, held = owner_of(bench, size, share, keys)
        count = sum(engine.tally().records.values())
        bench.figure(f"owner, {size} holders, {what}: records", count)
        bench.figure(f"owner, {size} holders, {what}: memory, MiB", held / 2**20)
        bench.figure(f"owner, {size} holders, {what}: bytes a record", held / max(1, count))
        if keys == size:
            measure_answers(bench, engine, keys)
    measure_holder(bench, size)


def owner_of(bench: Bench, size: int, share: int, keys: int) -> tuple[Directory, int]:
    """An owner that was told `share` records of `size` holders about so many keys, and its bytes for them."""
    rng = random.Random(bench.seed)
    engine = Directory("owner", 1, "", max_datagram=MAX_DATAGRAM, rng=rng)
    engine.start(0.0)
    names = [f"holder-{number}" for number in range(size)]
    for name in names:
        engine.member_alive(name, 1, "", 0.0)
    # As it arrives: packed, and unpacked into objects that the engine keeps.
    told = [encode(one) for one in told_by_all(size, share, keys)]
    gc.collect()
    tracemalloc.start()
    for name, message in zip(names, told, strict=True):
        engine.receive(message, name, 0.0, 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return engine, held


def told_by_all(size: int, share: int, keys: int) -> list[Advertise]:
    """What each holder tells: its part of the records, of keys that go round among all."""
    each = share // size
    return [
        Advertise(
            number,
            1,
            0,
            tuple(
                Record(key((number * each + own) % keys), RecordKind.COMPLETE, own + 1, 1_000)
                for own in range(each)
            ),
        )
        for number in range(size)
    ]


def measure_answers(bench: Bench, engine: Directory, keys: int) -> None:
    """Questions that one owner answers a second."""
    rng = random.Random(bench.seed)
    questions = [
        encode(Question(number, AskedFor.READ, (QuestionKey(key(rng.randrange(keys)), view_of(("owner",))),)))
        for number in range(5_000)
    ]
    started_at = time.process_time()
    for question in questions:
        engine.receive(question, "holder-1", 0.0, 0)
    seconds = time.process_time() - started_at
    bench.figure("lookups answered a second of processor time", len(questions) / seconds)


def measure_holder(bench: Bench, size: int) -> None:
    """Memory of a holder for what it tells: 10,000 keys, and a pair with each member."""
    ring = Ring.of({f"node-{number}": "" for number in range(size)})
    keys = [key(number) for number in range(1_000 if bench.is_short else 10_000)]
    gc.collect()
    tracemalloc.start()
    holder = settled_holder("node-0", ring, keys, random.Random(bench.seed))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bench.figure(f"holder, {len(holder.records)} keys told to {size} members: memory, MiB", held / 2**20)


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


if __name__ == "__main__":
    run("directory", __doc__ or "", measure)
