"""A cold herd in virtual time: what the registry sends, and how long the last node takes.

The owners' and the nodes' rules are the product's; links, ingests and download slots are simulated, so a
busy machine changes nothing. The bound is Kumar and Ross's: no way of distributing is faster.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import chart
from benchmarks.harness import Bench, quantile, run
from spegel_gossip.testing.virtual_swarm import STEP, VirtualSwarm

GBIT = 125_000_000.0
GIGABYTE = 10**9
MIB = 1 << 20
HERD_NODES = 8
SETTINGS = {"fast nodes": (10.0, 1.0), "equal links": (1.0, 1.0)}
"""Gbit/s of each node, and of the registry."""

LIMITS = {("fast nodes", 100): 1.3, ("fast nodes", 1000): 1.3, ("equal links", 100): 1.8}
"""Of the makespan, as a multiple of the bound."""

PLOT = Path(__file__).parent.parent / "docs" / "swarm.svg"
KRAKEN_NODES, KRAKEN_RATE, KRAKEN_STEP = 2_600, 300e6 / GBIT, 4 * MIB
"""Hosts, the cap of each, and the pieces of the measurement that Kraken's authors published: 3 GB
in two layers, to half of them in 10 s, to 99 % in 18 s. Their five origins had the image."""


def bound(n: int, size: int, node: float, registry: float) -> float:
    """Return the shortest time in which anybody could do it."""
    rates = (registry * GBIT, node * GBIT, (registry + n * node) * GBIT)
    return max(size / rates[0], size / rates[1], n * size / rates[2])


def herd(
    n: int,
    sizes: list[int],
    node: float,
    registry: float,
    *,
    seed: int,
    step: int = STEP,
    layers_after: bool = False,
) -> VirtualSwarm:
    """Return a herd that has pulled, all within 10 ms of each other."""
    swarm = VirtualSwarm(
        n,
        sizes,
        node_rate=node * GBIT,
        registry_rate=registry * GBIT,
        seed=seed,
        has_manifest=layers_after,
        step=step,
    )
    swarm.pull()
    swarm.run(1e6)
    return swarm


def warm_herd(n: int, sizes: list[int], *, seed: int) -> VirtualSwarm:
    """Return a herd that has pulled from one of its nodes, which had the image."""
    swarm = VirtualSwarm(n, sizes, node_rate=0.4 * GBIT, registry_rate=0.2 * GBIT, seed=seed)
    swarm.give("n0")
    swarm.pull([f"n{number}" for number in range(1, n)])
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
    if bench.wants("settings"):
        measure_settings(bench)
    if bench.wants("images"):
        measure_images(bench)
    if bench.wants("kraken") and not bench.is_short:
        measure_kraken(bench)


def measure_settings(bench: Bench) -> None:
    """One blob of 1 GB, beside two other ways, as a table and as a plot."""
    groups, marks = {}, {}
    for n in (10, 100) if bench.is_short else (10, 100, 1000):
        for name, (node, registry) in SETTINGS.items():
            bench.progress(f"{n} nodes, one blob of 1 GB, {name}")
            swarm = herd(n, [GIGABYTE], node, registry, seed=bench.seed)
            best = bound(n, GIGABYTE, node, registry)
            label = f"{name.replace(' ', '_')}_{n}"
            alone, whole = n * GIGABYTE / (registry * GBIT), commit_then_serve(n, GIGABYTE, node, registry)
            bench.figure(f"{label}_bound_s", best)
            bench.figure(f"{label}_makespan_s", swarm.makespan)
            bench.figure(f"{label}_egress", swarm.egress)
            bench.figure(f"{label}_commit_then_serve_s", whole)
            bench.figure(f"{label}_no_mirror_s", alone)
            bench.figure(f"{label}_no_mirror_egress", n)
            bench.at_most(f"egress, {name}, n = {n}", swarm.egress, 1.05)
            bench.at_most(f"404s beside the lease, {name}, n = {n}", swarm.uncounted_404s, 0)
            if (name, n) in LIMITS:
                ratio = swarm.makespan / best
                bench.at_most(f"makespan to bound, {name}, n = {n}", ratio, LIMITS[name, n])
            group = f"{n:,} nodes, {name}"
            groups[group], marks[group] = (alone, whole, swarm.makespan), best
    if not bench.is_short:
        title = "1 GB to all nodes, from a registry with 1 Gbit/s; nodes with 10 (fast) or 1 Gbit/s (equal)"
        series = ("no mirror", "whole copies only, 4 at a time", "this mirror (simulated)")
        chart.write(PLOT, chart.bars(title, series, groups, "s", marks))


def measure_images(bench: Bench) -> None:
    """The eight nodes of the herd on real containerds, and what the slots make of many layers."""
    for layers in (1, 4, 20):
        sizes = [100 * MIB // layers] * layers
        for rate, name in ((0.2, "registry"), (0.002, "slow_registry")):
            if name == "slow_registry" and bench.is_short:
                continue
            swarm = herd(HERD_NODES, sizes, 0.4, rate, seed=bench.seed, layers_after=True)
            label = f"eight_nodes_{name}_{layers}_layers"
            bench.figure(f"{label}_makespan_s", swarm.makespan)
            bench.figure(f"{label}_egress", swarm.egress)
            bench.at_most(f"egress, 8 nodes, {layers} layers, {name}", swarm.egress, 1.05)
    for n, layers in ((HERD_NODES, 1), (HERD_NODES, 4), (HERD_NODES, 20), (100, 60), (100, 1000)):
        warm = warm_herd(n, [100 * MIB // layers] * layers, seed=bench.seed)
        label = f"1 to {n - 1}, {layers} layers"
        bench.figure(f"warm_{n}_nodes_{layers}_layers_makespan_s", warm.makespan)
        if n == HERD_NODES:
            bench.at_most(f"warm roll-out, {label}, seconds", warm.makespan, 5.0)
        bench.at_most(f"warm roll-out, {label}, bytes from the registry", warm.registry.sent, 0)


def measure_kraken(bench: Bench) -> None:
    """The measurement that Kraken's authors published, with one registry in place of five origins."""
    bench.progress(f"{KRAKEN_NODES} nodes, two layers of 1.5 GB, 300 MB/s each")
    sizes = [3 * GIGABYTE // 2] * 2
    swarm = herd(KRAKEN_NODES, sizes, KRAKEN_RATE, KRAKEN_RATE, seed=bench.seed, step=KRAKEN_STEP)
    took = [node.finished_at or float("inf") for node in swarm.nodes.values()]
    bench.figure("kraken_setting_bound_s", bound(KRAKEN_NODES, sum(sizes), KRAKEN_RATE, KRAKEN_RATE))
    for name, fraction in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        bench.figure(f"kraken_setting_{name}_s", quantile(took, fraction))
    bench.figure("kraken_setting_makespan_s", swarm.makespan)
    bench.figure("kraken_setting_egress", swarm.egress)
    bench.at_most("egress, Kraken's setting", swarm.egress, 1.05)


if __name__ == "__main__":
    run("swarm", __doc__ or "", measure)
