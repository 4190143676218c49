"""Membership of large clusters on the simulated network: joins, deaths, healing, false deaths.

The simulation runs the real engine. Its seconds are simulated, so a busy machine does not change them; what
real nodes cost is in `membership_processes.py`.
"""

from __future__ import annotations

import gc
import time

from benchmarks.harness import Bench, median, quantile, run
from benchmarks.large_table import Learner, whole_table
from benchmarks.simulated import (
    BUDDY,
    LHA_PROBE,
    LHA_SUSPICION,
    LIFEGUARD,
    PLAIN_SWIM,
    Falsehood,
    Watched,
    deaths,
    dissemination,
    false_deaths,
    healing,
    without_collector,
)

DEATHS_N = 128
GRID_N = 128
GRID_SECONDS = 120.0
EXCHANGE_N = 5000
EXCHANGES = 20


def measure(bench: Bench) -> None:
    """Run the parts that are wanted."""
    if bench.wants("exchange"):
        measure_exchange(bench)
    with without_collector():
        if bench.wants("join"):
            measure_joins(bench)
        if bench.wants("death"):
            measure_deaths(bench)
        if bench.wants("healing"):
            measure_healing(bench)
        if bench.wants("lifeguard"):
            measure_lifeguard(bench)


def measure_exchange(bench: Bench) -> None:
    """How long a push-pull with five thousand members holds the loop, the garbage collector included."""
    body = whole_table(EXCHANGE_N)
    gc.collect()
    gc.freeze()  # as a node does once it has started
    learned, equal, collected = [], [], []
    for _ in range(EXCHANGES):
        learner = Learner()
        learner.answer(body)
        learned.append(learner.worst())
        learner.answer(learner.hash_table())
        equal.append(learner.worst())
        learner.collect()
        collected.append(learner.worst())
        del learner
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    for name, worst in (("learning", learned), ("equal", equal), ("full_collection", collected)):
        bench.figure(f"exchange_{EXCHANGE_N}_{name}_longest_turn_ms_median", 1000 * median(worst))
        bench.figure(f"exchange_{EXCHANGE_N}_{name}_longest_turn_ms_worst", 1000 * max(worst))
    gc.unfreeze()
    together = 1000 * (max(*learned, *equal) + max(collected))
    bench.at_most("push-pull at n = 5,000, longest turn and a full collection, ms", together, 5.0)


def measure_joins(bench: Bench) -> None:
    """All at once through one seed, and then one after the other."""
    for n in (100,) if bench.is_short else (100, 1000, 2000):
        bench.progress(f"join of {n} members at once")
        watched = Watched(n, seed=bench.seed)
        bench.figure(f"join_{n}_s", watched.joined())
        took = dissemination(watched, newcomers=5 if n > 1000 else 20)
        bench.figure(f"newcomer_known_by_99pct_{n}_median_s", median(took))
        bench.figure(f"newcomer_known_by_99pct_{n}_worst_s", max(took))
        if n == 1000:
            bench.at_most("newcomer known by 99 %, n = 1,000, worst, s", max(took), 2.0)
        if n <= 1000:
            measure_simulator(bench, watched)


def measure_simulator(bench: Bench, watched: Watched) -> None:
    """How many events of an idle cluster the simulator does in a second of CPU time."""
    network, began_at = watched.cluster.network, time.thread_time()
    before = network.events
    watched.cluster.run_for(10.0)
    spent = time.thread_time() - began_at
    bench.figure(f"simulator_{watched.n}_events_per_cpu_s", round((network.events - before) / spent))


def measure_deaths(bench: Bench) -> None:
    """From a crash until the last member of the cluster names the dead no more."""
    for name, config in (("", None), ("_alpha5_lifeguard", LIFEGUARD), ("_alpha5_plain_swim", PLAIN_SWIM)):
        trials = 10 if bench.is_short else 300 if config is None else 40
        bench.progress(f"{trials} deaths at n = {DEATHS_N}{name}")
        watched = Watched(DEATHS_N, seed=bench.seed, config=config)
        watched.joined()
        first, last = deaths(watched, trials=trials)
        bench.figure(f"death{name}_first_median_s", median(first))
        bench.figure(f"death{name}_last_median_s", median(last))
        bench.figure(f"death{name}_last_p99_s", quantile(last, 0.99))
        if config is None:
            bench.at_most("death to no answer naming it, n = 128, median, s", median(last), 12.0)
            bench.at_most("death to no answer naming it, n = 128, p99, s", quantile(last, 0.99), 16.0)
    ratio = float(bench.figures["death_alpha5_lifeguard_first_median_s"]) / float(
        bench.figures["death_alpha5_plain_swim_first_median_s"]
    )
    bench.at_most("first detection, Lifeguard against plain SWIM, median", ratio, 1.1)


def measure_healing(bench: Bench) -> None:
    """Two halves that buried each other long ago."""
    for n in (100,) if bench.is_short else (100, 1000):
        bench.progress(f"ten minutes of partition at n = {n}")
        watched = Watched(n, seed=bench.seed)
        watched.joined()
        took, buried = healing(watched, minutes=10.0)
        bench.figure(f"healed_{n}_s", took)
        bench.at_most(f"one cluster again after 10 min of partition, n = {n}, s", took, 60.0)
        bench.at_most(f"live members buried while healing, n = {n}", buried, 0)


def measure_lifeguard(bench: Bench) -> None:
    """False deaths in Lifeguard's grid, by configuration."""
    # The paper's grid is 9 x 9 x 8 points; here every axis has its ends and a middle. A stall shorter than a
    # suspicion, 10.5 s, kills nobody: members read all that came in at once.
    grid = [(8, 16.384, 0.016), (8, 32.768, 0.016)]
    if not bench.is_short:
        grid = [(c, d, i) for c in (1, 8, 32) for d in (8.192, 16.384, 32.768) for i in (0.016, 1.024)]
    configs = {"plain_swim": PLAIN_SWIM, "lifeguard": LIFEGUARD}
    if not bench.is_short:
        configs |= {"lha_probe": LHA_PROBE, "lha_suspicion": LHA_SUSPICION, "buddy": BUDDY}
    totals: dict[str, Falsehood] = {}
    for name, config in configs.items():
        bench.progress(f"Lifeguard's grid, {name}, {len(grid)} points")
        totals[name] = seen = Falsehood()
        for c, d, i in grid:
            false_deaths(
                config,
                seen,
                n=GRID_N,
                sick=c,
                sick_time=d,
                well_time=i,
                seconds=GRID_SECONDS,
                seed=bench.seed,
            )
        plain = totals["plain_swim"]
        bench.figure(f"false_deaths_{name}", seen.deaths)
        bench.figure(f"false_deaths_{name}_at_well_members", seen.deaths_at_well)
        bench.figure(f"false_deaths_{name}_share_of_plain", seen.deaths / max(1, plain.deaths))
        bench.figure(f"datagrams_{name}_share_of_plain", seen.datagrams / plain.datagrams)
        bench.figure(f"datagram_bytes_{name}_share_of_plain", seen.datagram_bytes / plain.datagram_bytes)
    ratio = totals["lifeguard"].deaths / max(1, totals["plain_swim"].deaths)
    bench.at_most("false deaths, Lifeguard against plain SWIM", ratio, 0.03)


if __name__ == "__main__":
    run("membership", __doc__ or "", measure)
