"""The ring by its cost: a change, a lookup, how evenly it shares, and what a departure moves."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from benchmarks.harness import Bench, median, run
from spegel_gossip.ring.handover import handovers
from spegel_gossip.ring.points import virtual_nodes
from spegel_gossip.ring.ring import OWNERS, Ring

SIZES = (10, 100, 1_000, 5_000)
ZONES = ("a", "b", "c")
MAX_UPDATE_MS = 25.0
MAX_LOOKUP_US = 5.0
CHANGES = 11
"""Joins and leaves timed at each size."""


def measure(bench: Bench) -> None:
    """Measure at every size, without zones and with three."""
    rng = random.Random(bench.seed)
    for size in SIZES[:3] if bench.is_short else SIZES:
        bench.progress(f"{size} members")
        ring = Ring.of({f"node-{number}": "" for number in range(size)})
        zoned = Ring.of({f"node-{number}": ZONES[number % 3] for number in range(size)})
        measure_update(bench, ring, size, rng)
        measure_lookup(bench, {"": ring, "three zones, ": zoned}, size, rng)
        measure_balance(bench, ring, size, rng)


def measure_update(bench: Bench, ring: Ring, size: int, rng: random.Random) -> None:
    """A member more and a member less, as the node does it: on a copy."""
    joins, leaves = [], []
    for number in range(CHANGES):
        zones = dict(ring.zones)
        leaver = rng.choice(sorted(zones))
        joined = {**zones, f"joiner-{number}": ""}
        left = {name: zone for name, zone in zones.items() if name != leaver}
        joins.append(timed(lambda zones=joined: ring.changed_to(zones)))  # type: ignore[misc]
        leaves.append(timed(lambda zones=left: ring.changed_to(zones)))  # type: ignore[misc]
    for name, seconds in (("join", joins), ("leave", leaves)):
        bench.figure(f"n={size}: {name}, ms", median(seconds) * 1e3)
        bench.at_most(f"n={size}: {name}, ms", median(seconds) * 1e3, MAX_UPDATE_MS)


def measure_lookup(bench: Bench, rings: dict[str, Ring], size: int, rng: random.Random) -> None:
    """Three owners of a random token, the best of five rounds."""
    tokens = [rng.getrandbits(64) for _ in range(20_000)]
    for name, ring in rings.items():

        def look_up(ring: Ring = ring) -> None:
            for token in tokens:
                ring.preference_list(token)

        microseconds = min(timed(look_up) for _ in range(5)) / len(tokens) * 1e6
        bench.figure(f"n={size}: {name}lookup, us", microseconds)
        bench.at_most(f"n={size}: {name}lookup, us", microseconds, MAX_LOOKUP_US)


def measure_balance(bench: Bench, ring: Ring, size: int, rng: random.Random) -> None:
    """Shares of the first owners, and the keys whose owners change when one member leaves."""
    shares = list(ring.shares().values())
    bench.figure(f"n={size}: largest share over the mean", max(shares) * size)
    bench.figure(f"n={size}: shares, cv", statistics.pstdev(shares) * size)
    leaver = rng.choice(sorted(ring.zones))
    after = ring.changed_to({name: zone for name, zone in ring.zones.items() if name != leaver})
    tokens = [rng.getrandbits(64) for _ in range(20_000)]
    moved = sum(1 for _ in handovers(ring, after, tokens)) / len(tokens)
    ideal = min(1.0, OWNERS / size)
    bench.figure(f"n={size}: keys that a leave moves, over the ideal", moved / ideal)
    bench.figure(f"n={size}: virtual nodes a member", virtual_nodes(size))


def timed(do: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes: neighbours on the machine do not count."""
    started_at = time.process_time()
    do()
    return time.process_time() - started_at


if __name__ == "__main__":
    run("ring", __doc__ or "", measure)
