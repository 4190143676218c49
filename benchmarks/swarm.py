"""A cold herd in virtual time: what the registry sends, and how long the last node takes.

The owners' and the nodes' rules are the product's; links, ingests and download slots are simulated, so a
busy machine changes nothing. The bound is Kumar and Ross's: no way of distributing is faster.
"""

from __future__ import annotations

from benchmarks.harness import Bench, run
from spegel_gossip.testing.virtual_swarm import VirtualSwarm

GBIT = 125_000_000.0
GIGABYTE = 10**9
SETTINGS = {"fast nodes": (10.0, 1.0), "equal links": (1.0, 1.0)}
"""Gbit/s of each node, and of the registry."""


def bound(n: int, size: int, node: float, registry: float) -> float:
    """Return the shortest time in which anybody could do it."""
    rates = (registry * GBIT, node * GBIT, (registry + n * node) * GBIT)
    return max(size / rates[0], size / rates[1], n * size / rates[2])


def herd(
    n: int, sizes: list[int], node: float, registry: float, *, seed: int, has_swarm: bool = True
) -> VirtualSwarm:
    """Return a herd that has pulled."""
    swarm = VirtualSwarm(
        n, sizes, node_rate=node * GBIT, registry_rate=registry * GBIT, seed=seed, has_swarm=has_swarm
    )
    swarm.pull()
    swarm.run(1e6)
    return swarm


def commit_then_serve(n: int, size: int, node: float, registry: float, cap: int = 4) -> float:
    """Return the makespan where only whole copies are sent, `cap` at a time by each that has one."""
    holders, at, left = 1, size / (registry * GBIT), n - 1
    while left > 0:
        served = min(left, holders * cap)
        at += size * min(cap, served) / (node * GBIT)
        holders, left = holders + served, left - served
    return at


def measure(bench: Bench) -> None:
    """Run all settings."""
    for n in (10, 100) if bench.is_short else (10, 100, 1000):
        for name, (node, registry) in SETTINGS.items():
            bench.progress(f"{n} nodes, one blob of 1 GB, {name}")
            swarm = herd(n, [GIGABYTE], node, registry, seed=bench.seed)
            best = bound(n, GIGABYTE, node, registry)
            label = f"{name.replace(' ', '_')}_{n}"
            bench.figure(f"{label}_bound_s", best)
            bench.figure(f"{label}_makespan_s", swarm.makespan)
            bench.figure(f"{label}_egress", swarm.egress)
            bench.figure(f"{label}_commit_then_serve_s", commit_then_serve(n, GIGABYTE, node, registry))
            bench.figure(f"{label}_no_mirror_s", n * GIGABYTE / (registry * GBIT))
            bench.at_most(f"egress, {name}, n = {n}", swarm.egress, 1.05)
            limit = {("fast nodes", 100): 1.3, ("fast nodes", 1000): 1.3, ("equal links", 100): 1.8}
            if (name, n) in limit:
                bench.at_most(f"makespan to bound, {name}, n = {n}", swarm.makespan / best, limit[name, n])
    measure_images(bench)


def measure_images(bench: Bench) -> None:
    """The eight nodes of the herd on real containerds, and what the slots make of many layers."""
    for layers in (1, 4, 20):
        sizes = [100 * (1 << 20) // layers] * layers
        swarm = herd(8, sizes, 0.4, 0.2, seed=bench.seed)
        bench.figure(f"eight_nodes_{layers}_layers_makespan_s", swarm.makespan)
        bench.figure(f"eight_nodes_{layers}_layers_egress", swarm.egress)
        bench.at_most(f"egress, 8 nodes, {layers} layers", swarm.egress, 1.05)


if __name__ == "__main__":
    run("swarm", __doc__ or "", measure)
