"""How true the directory is, by simulated members: how soon news is known, how wrong churn makes lookups."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass

from benchmarks.harness import Bench, median, quantile
from spegel_gossip.directory.inquiry import Verdict
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.oci.digest import Digest
from spegel_gossip.testing.directories import SimDirectories
from spegel_gossip.testing.settled import start_settled

DETECTION = 8.0
KEYS_EACH = 3
COPIES = 3
"""Keys of the churned cluster for each member, and members that hold each."""

LOOKUP_INTERVAL = 0.25
LOOKUPS_AT_ONCE = 25


def key(number: int) -> PackedKey:
    """One of any number of keys."""
    return pack_key(Digest.of(str(number).encode()))


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
    size, minutes = (60, 5) if bench.is_short else (1_000, 2)
    names = [f"node-{number}" for number in range(size)]
    keys = [key(number) for number in range(size * KEYS_EACH)]
    held: dict[str, list[PackedKey]] = {name: [] for name in names}
    for number, one in enumerate(keys):
        for copy in range(COPIES):
            held[names[(number + copy * 7) % size]].append(one)
    cluster = SimDirectories(seed=bench.seed, max_delay=0.002)
    bench.progress(f"{size} simulated members")
    start_settled(cluster, dict.fromkeys(names, ""), held)
    # Their objects are there to stay: looking through them again and again would take most of the time.
    gc.collect()
    gc.freeze()
    cluster.run_for(60.0)
    cluster.detection = DETECTION
    bench.progress(f"churn for {minutes} minutes")
    wrong = churn(cluster, held, keys, minutes * 60.0, random.Random(bench.seed))
    gc.unfreeze()
    bench.figure(f"1 % churn a minute, n={size}: replaced", wrong.replaced)
    bench.figure(f"1 % churn a minute, n={size}: lookups", wrong.asked)
    bench.figure(
        f"1 % churn a minute, n={size}: missing what a member holds, %", wrong.percent(wrong.missing)
    )
    bench.figure(f"1 % churn a minute, n={size}: naming a dead member, %", wrong.percent(wrong.dead))
    bench.figure(f"1 % churn a minute, n={size}: naming the dead only, %", wrong.percent(wrong.useless))


@dataclass
class Wrong:
    """Lookups, and how many were wrong."""

    replaced: int = 0
    asked: int = 0
    missing: int = 0
    dead: int = 0
    useless: int = 0

    def percent(self, count: int) -> float:
        """A count among the lookups."""
        return 100.0 * count / max(1, self.asked)


def churn(
    cluster: SimDirectories,
    held: dict[str, list[PackedKey]],
    keys: list[PackedKey],
    seconds: float,
    rng: random.Random,
) -> Wrong:
    """Stop a member at a time, and start it again with all it had when the next one goes."""
    every = 6_000.0 / len(held)
    names = list(held)
    wrong = Wrong()
    next_at, down = cluster.now, ""
    end = cluster.now + seconds
    while cluster.now < end:
        if cluster.now >= next_at:
            if down:
                cluster.start(down)
                for one in held[down]:
                    cluster.put(down, one)
            down = rng.choice([name for name in names if name != down])
            cluster.stop(down)
            wrong.replaced += 1
            next_at += every
        cluster.run_for(LOOKUP_INTERVAL)
        for _ in range(LOOKUPS_AT_ONCE):
            asker, one = rng.choice(names), rng.choice(keys)
            if asker == down or one in cluster.members[asker].held:
                continue
            wrong.asked += 1
            wrong.missing += cluster.look_up(asker, one) is not Verdict.FOUND
            named = cluster.names_found(asker, one)
            wrong.dead += bool(named - cluster.members.keys())
            wrong.useless += bool(named) and not named & cluster.members.keys()
    return wrong


def grown(bench: Bench, size: int) -> SimDirectories:
    """A cluster at rest."""
    bench.progress(f"{size} simulated members")
    cluster = SimDirectories(seed=bench.seed, max_delay=0.002)
    for number in range(size):
        cluster.start(f"node-{number}")
    cluster.run_for(60.0)
    return cluster
