"""How long a pull pauses when its source, its mirror or its network fails in the middle, on real containerd.

The scenes are those of the tests, which assert results and sources; here the pauses are barred.
"""

from __future__ import annotations

from benchmarks.harness import Bench, run
from e2e.fault_matrix import FAULTS, play
from lab.cluster import Lab
from lab.containerd import containerd_versions

LONGEST_PAUSE = 4.0
TRICKLE_PAUSE = 14.0
"""Seconds: a source that drips is judged after ten seconds of it."""


def measure(bench: Bench) -> None:
    """Play every fault on every containerd that is here."""
    versions = sorted(containerd_versions())[: 1 if bench.is_short else None]
    for version in versions:
        with Lab(nodes=3, containerd=version) as lab:
            ways = (False, True) if lab.build.has_transfer_service and not bench.is_short else (False,)
            for local in ways:
                way = f"{version}{' --local' if local else ''}"
                for number, fault in enumerate(FAULTS):
                    lab.reset()
                    outcome = play(lab, fault, seed=bench.seed * 1000 + number * 2 + local, local=local)
                    name = f"{way}, {fault.name}"
                    word = "pulled" if outcome.succeeded else "FAILED"
                    peers, upstream = outcome.peer_bytes >> 20, outcome.upstream_bytes >> 20
                    bench.figure(
                        name,
                        f"{word}, {peers} MiB from peers, {upstream} upstream, "
                        f"pause {outcome.longest_pause:.1f} s of {outcome.seconds:.1f} s",
                    )
                    bench.at_least(f"{name}: succeeds", float(outcome.succeeded), 1)
                    if fault.needs_upstream:
                        continue  # how fast containerd gets there is its own affair
                    bench.at_most(f"{name}: MiB from upstream", upstream, 0)
                    limit = TRICKLE_PAUSE if "trickles" in fault.name else LONGEST_PAUSE
                    bench.at_most(f"{name}: longest pause, s", outcome.longest_pause, limit)
                lab.end_nodes()


if __name__ == "__main__":
    run("faults", __doc__ or "", measure)
