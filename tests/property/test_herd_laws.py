"""What holds of a herd whatever goes wrong in it, and when."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.herds import GBIT, MIB, assert_all_done, assert_sound, herd, run_watched
from spegel_gossip.testing.virtual_swarm import VirtualSwarm

NODES = 6
LONG = 600.0


@dataclass(frozen=True)
class Fault:
    after: float
    what: str
    node: int
    seconds: float


faults = st.lists(
    st.builds(
        Fault,
        st.floats(0.05, 2.0),
        st.sampled_from(["kill", "restart", "cancel", "throttle", "stall", "cut", "join"]),
        st.integers(0, NODES - 1),
        st.floats(0.5, 25.0),
    ),
    max_size=5,
)
images = st.lists(st.sampled_from([30 * MIB, 10 * MIB, 3 * MIB + 1, MIB, 1_000]), min_size=1, max_size=5)
rates = st.sampled_from([0.02 * GBIT, 0.2 * GBIT, 1.0 * GBIT])


def happen(swarm: VirtualSwarm, fault: Fault, killed: set[int]) -> None:
    name = f"n{fault.node}"
    node = swarm.nodes[name]
    match fault.what:
        case "kill" if len(killed | {fault.node}) <= 2:
            killed.add(fault.node)
            swarm.kill(name)
        case "restart" if node.is_alive:
            swarm.containerd.restart(node)
        case "cancel" if node.is_alive and node.finished_at is None:
            swarm.containerd.cancel(node)
        case "throttle":
            node.uplink.rate = node.downlink.rate = 8 * MIB
        case "stall":
            node.upstream_rate = 0.0
            swarm.after(fault.seconds, lambda: setattr(node, "upstream_rate", float("inf")))
        case "cut":
            node.side = name
            swarm.after(fault.seconds, lambda: setattr(node, "side", ""))
        case "join" if node.is_alive and not node.fetches:
            swarm.pull([name])
        case _:
            pass


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images, rates, faults, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 1_000))
def test_everybody_ends_with_all_bytes_and_nothing_is_fetched_that_somebody_has(
    sizes: list[int],
    registry_rate: float,
    happened: list[Fault],
    has_shared_slots: bool,
    has_manifest: bool,
    asks_in_order: bool,
    seed: int,
) -> None:
    swarm = herd(
        NODES,
        sizes,
        seed=seed,
        has_shared_slots=has_shared_slots,
        has_manifest=has_manifest,
        registry_rate=registry_rate,
    )
    swarm.asks_in_order = asks_in_order
    swarm.pull(["n0", "n1", "n2", "n3"], spread=0.5)
    killed: set[int] = set()
    for fault in happened:
        run_watched(swarm, swarm.now + fault.after)
        happen(swarm, fault, killed)
    run_watched(swarm, LONG)
    assert_all_done(swarm)
    assert_sound(swarm)
    if not happened:
        assert swarm.egress == 1.0
        assert swarm.uncounted_404s == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images, faults, st.booleans(), st.integers(0, 1_000))
def test_without_a_registry_one_whole_copy_that_lives_is_enough(
    sizes: list[int], happened: list[Fault], has_shared_slots: bool, seed: int
) -> None:
    swarm = herd(NODES, sizes, seed=seed, has_shared_slots=has_shared_slots)
    swarm.registry.rate = 0.0
    swarm.give("n0")
    swarm.pull(["n1", "n2", "n3"], spread=0.5)
    for fault in happened:
        run_watched(swarm, swarm.now + fault.after)
        if fault.what in {"restart", "cancel", "join"} and fault.node:
            happen(swarm, fault, set())
    run_watched(swarm, LONG)
    assert_all_done(swarm)
    assert swarm.registry.sent == 0
