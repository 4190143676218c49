"""How long a pull pauses when its source, its mirror or its network fails in the middle, on real containerd.

The scenes are those of the tests, which assert results and sources; here the pauses are barred. The parts are
the ways to pull (`1.6.20`, `2.1.4`, `2.1.4 --local`, ...); all of them take some twenty minutes.
"""

from __future__ import annotations

from benchmarks.harness import Bench, run
from e2e.fault_matrix import FAULTS, Fault, Outcome, play
from e2e.fault_recoveries import RECOVERIES
from lab.cluster import Lab
from lab.containerd import containerd_versions

VERSIONS = ("1.6.20", "2.1.4", "2.2.6")
LONGEST_PAUSE = 4.0
"""Seconds, wherever another source exists."""


def measure(bench: Bench) -> None:
    """Play every fault on every containerd that is here."""
    here = containerd_versions()
    for version in VERSIONS[: 1 if bench.is_short else None]:
        if version not in here:
            bench.progress(f"containerd {version} is not here")
            continue
        ways = {version: False}
        if here[version].has_transfer_service and not bench.is_short:
            ways[f"{version} --local"] = True
        wanted = {way: local for way, local in ways.items() if bench.wants(way)}
        if wanted:
            with Lab(nodes=3, containerd=version) as lab:
                for way, local in wanted.items():
                    _play_all(bench, lab, way, local=local)


def _play_all(bench: Bench, lab: Lab, way: str, *, local: bool) -> None:
    for number, fault in enumerate(FAULTS):
        lab.reset()
        outcome = play(lab, fault, seed=bench.seed * 1000 + number * 2 + local, local=local)
        _judge(bench, f"{way}, {fault.name}", fault, outcome)
    for number, (name, recovery) in enumerate(RECOVERIES.items()):
        lab.reset()
        both = recovery(lab, seed=bench.seed * 1000 + 500 + number * 2 + local, local=local)
        bench.figure(f"{way}, {name}: that pull", "FAILED" if both.first_error else "pulled")
        next_pull = f"{way}, {name}: the next pull"
        bench.figure(next_pull, _row(both.next))
        bench.at_least(f"{next_pull} succeeds", float(both.next.succeeded), 1)
        bench.at_most(f"{next_pull}, bytes from upstream", both.next.upstream_bytes, 0)
    lab.end_nodes()


def _judge(bench: Bench, name: str, fault: Fault, outcome: Outcome) -> None:
    bench.figure(name, _row(outcome))
    bench.at_least(f"{name}: succeeds", float(outcome.succeeded), 1)
    if fault.needs_upstream:
        return  # how fast containerd gets there is its own affair
    bench.at_most(f"{name}: bytes from upstream", outcome.upstream_bytes, 0)
    if not fault.is_from_the_start:
        bench.at_most(f"{name}: longest pause, s", outcome.longest_pause, LONGEST_PAUSE)


def _row(outcome: Outcome) -> str:
    word = "pulled" if outcome.succeeded else "FAILED"
    peers, upstream = outcome.peer_bytes >> 20, outcome.upstream_bytes >> 20
    pause = f"pause {outcome.longest_pause:.1f} s of {outcome.seconds:.1f} s"
    return f"{word}, {peers} MiB from peers, {upstream} upstream, {pause}"


if __name__ == "__main__":
    run("faults", __doc__ or "", measure)
