"""Herds in virtual time, and what must be true of every one of them."""

import random
from functools import partial

from spegel_gossip.swarm.patience import MAX_YIELDS
from spegel_gossip.testing.virtual_containerd import ANSWER_TIMEOUT, LOOK_INTERVAL
from spegel_gossip.testing.virtual_mirror import MAX_PARTIAL_UPLOADS
from spegel_gossip.testing.virtual_node import REGISTRY
from spegel_gossip.testing.virtual_swarm import VirtualSwarm

MIB = 1 << 20
GBIT = 125_000_000.0
MAX_FETCHERS = 3


def herd(
    n: int = 8,
    sizes: list[int] | None = None,
    *,
    seed: int = 1,
    has_shared_slots: bool = True,
    has_manifest: bool = False,
    registry_rate: float = 0.2 * GBIT,
) -> VirtualSwarm:
    """Return nodes of 400 Mbit/s and, unless told otherwise, a registry of 200."""
    return VirtualSwarm(
        n,
        [100 * MIB] if sizes is None else sizes,
        node_rate=0.4 * GBIT,
        registry_rate=registry_rate,
        seed=seed,
        has_shared_slots=has_shared_slots,
        has_manifest=has_manifest,
    )


def assert_all_done(swarm: VirtualSwarm) -> None:
    """Everybody who lives and wanted something has all its bytes, from somewhere, in order."""
    assert swarm.is_over()
    for node in swarm.nodes.values():
        for fetch in node.fetches.values():
            if node.is_alive and node.finished_at is not None:
                assert fetch.is_done, (node.name, fetch)
                assert fetch.offset in {0, swarm.sizes[fetch.blob]}


def assert_sound(swarm: VirtualSwarm) -> None:
    """What no fault may break."""
    assert max(swarm.most_upstream.values(), default=0) <= MAX_FETCHERS
    assert swarm.longest_wait <= MAX_YIELDS * ANSWER_TIMEOUT + 2 * LOOK_INTERVAL
    assert swarm.most_partial_uploads <= MAX_PARTIAL_UPLOADS + len(swarm.sizes)
    assert swarm.needless_404s == []
    assert circles(swarm) == []


def fetching(swarm: VirtualSwarm, blob: int = 0) -> list[str]:
    """Return who gets a blob from the registry now."""
    return [
        name
        for name, node in swarm.nodes.items()
        if node.is_alive and blob in node.fetches and node.fetches[blob].source == REGISTRY
    ]


def circles(swarm: VirtualSwarm) -> list[str]:
    """Return the nodes that read a blob, by way of others, from themselves."""
    found = []
    for number in swarm.blobs():
        sources = {
            name: node.fetches[number].source for name, node in swarm.nodes.items() if number in node.fetches
        }
        for name in sources:
            at, seen = sources[name], 0
            while at in sources and at != name and seen < len(sources):
                at, seen = sources[at], seen + 1
            if at == name:
                found.append(name)
    return found


def run_watched(swarm: VirtualSwarm, until: float, *, step: float = 0.25) -> None:
    """Let time pass, and look all the while."""
    while not swarm.is_over() and swarm.now < until:
        swarm.run(swarm.now + step)
        assert_sound(swarm)


def random_faults(swarm: VirtualSwarm, rng: random.Random, *, faults: int, until: float) -> None:
    """Let things go wrong at random moments; no more than a third of the nodes die."""
    killed = 0
    for _ in range(faults):
        run_watched(swarm, swarm.now + rng.uniform(0.1, 3.0))
        name = rng.choice([one for one, node in swarm.nodes.items() if node.is_alive])
        node = swarm.nodes[name]
        match rng.choice(["kill", "restart", "cancel", "throttle", "stall", "cut"]):
            case "kill" if killed < len(swarm.nodes) // 3:
                killed += 1
                swarm.kill(name)
            case "restart":
                swarm.containerd.restart(node)
            case "cancel" if node.finished_at is None and len(swarm.nodes) > 3:
                swarm.containerd.cancel(node)
            case "throttle":
                node.uplink.rate = node.downlink.rate = 16 * MIB
            case "stall":
                node.upstream_rate = 0.0
                swarm.after(rng.uniform(1.0, 20.0), partial(setattr, node, "upstream_rate", 1e12))
            case "cut":
                node.side = name
                swarm.after(rng.uniform(1.0, 20.0), partial(setattr, node, "side", ""))
            case _:
                pass
    run_watched(swarm, until)
