"""What can happen in the middle of a herd's pull to whoever fetches for all, and what the herd made of it.

The tests assert that every pull that can complete does, and what the registry sent;
`benchmarks/herd.py` reports the pauses.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from e2e.herds import PULL_TIMEOUT, Herd, HerdResult, Links, limit
from lab import images
from lab.cluster import Lab
from lab.node import Node
from lab.registry import PASSWORD, USER

TRICKLE_MEGABITS = 1.0
OUTAGE = 3.0
"""Seconds for which the registry is away: a pull that fails meanwhile is tried again."""

HEALED_TIMEOUT = 30.0
"""Seconds in which a node that is whole again completes the pull that it had begun; else it begins anew."""

WRONG_PASSWORD = "bal"  # noqa: S105


@dataclass(frozen=True)
class Scene:
    """A herd in the middle of its pull."""

    lab: Lab
    herd: Herd
    victim: Node

    def restore_link(self) -> None:
        """Undo what was done to the victim's link."""
        self.victim.namespace.set_link(up=True)
        self.victim.namespace.lift_bandwidth_limit()


class Victim(Enum):
    """To whom it happens."""

    FETCHER = "fetcher"
    """Who fetches for all."""

    OWNER = "owner"
    """The first owner of the layer's digest, another node than that."""

    BOTH = "both"
    """The first owner, who fetches: with it goes who knows who reads from whom."""


@dataclass(frozen=True)
class HerdFault:
    """One thing that happens while one node fetches for all others."""

    name: str
    inflict: Callable[[Scene], None]
    heal: Callable[[Scene], None] = lambda _: None
    victim: Victim = Victim.FETCHER

    hits_all: bool = False
    """Whether nobody's pull can complete until it is healed."""


@dataclass(frozen=True)
class FaultResult:
    """What the herd made of it."""

    herd: HerdResult
    others_failed: Sequence[str]
    """Those who had to begin again though nothing had happened to them."""

    victim_began_again: bool
    others_pause: float
    """The longest of theirs, from the fault on."""

    others_seconds: float
    had_hit_all: bool = False
    """Whether nobody could go on for a while, so that beginning again is no failure."""


def _kill_mirror(scene: Scene) -> None:
    scene.victim.kill()


def _unplug(scene: Scene) -> None:
    scene.victim.namespace.set_link(up=False)


def _throttle(scene: Scene) -> None:
    scene.victim.namespace.limit_bandwidth(TRICKLE_MEGABITS)


def _restart_containerd(scene: Scene) -> None:
    scene.victim.containerd.kill()
    scene.victim.containerd.start()


def _cancel(scene: Scene) -> None:
    scene.herd.pull_of(scene.victim).signal(signal.SIGINT)


def _registry_away(scene: Scene) -> None:
    scene.lab.registry.stop()
    scene.herd.let_pass(OUTAGE)


def _registry_back(scene: Scene) -> None:
    scene.lab.registry.start()


FAULTS: Sequence[HerdFault] = (
    HerdFault("mirror killed", _kill_mirror),
    HerdFault("black-holed", _unplug, Scene.restore_link),
    HerdFault("throttled", _throttle, Scene.restore_link),
    HerdFault("containerd restarted", _restart_containerd),
    HerdFault("pull cancelled", _cancel),
    HerdFault("owner killed", _kill_mirror, victim=Victim.OWNER),
    HerdFault("owner that fetches killed", _kill_mirror, victim=Victim.BOTH),
    HerdFault("owner that fetches black-holed", _unplug, Scene.restore_link, victim=Victim.BOTH),
    HerdFault("registry away", _registry_away, _registry_back, hits_all=True),
)


def play(lab: Lab, fault: HerdFault, *, seed: int, layer_size: int, links: Links) -> FaultResult:
    """Let all nodes pull a layer that one of them fetches, and let the fault happen in the middle of it.

    All nodes run. Whoever could not complete pulls again once all is healed, as a kubelet would have it.
    """
    image = images.image(seed, [layer_size])
    reference = lab.registry.push(image, f"herd/fault{seed}")
    owner = owner_of(lab, image.blobs[1].digest)
    first = owner if fault.victim is Victim.BOTH else next(node for node in lab.nodes if node is not owner)
    limit(lab, links)
    with Herd(lab, image, reference) as herd:
        herd.begin(first)
        herd.wait_for(images.MIB, [first])
        others = [node for node in lab.nodes if node is not first]
        herd.begin(*others)
        # Not a third at everybody: where the machine is what is slow, the fetcher would be done by then.
        herd.wait_for(images.MIB, others)
        herd.wait_for(layer_size // 3, [first])
        # Not it alone: where an owner was slow to answer, the rule lets another fetch beside it.
        herd.wait_fetching(first)
        scene = Scene(lab, herd, owner if fault.victim is Victim.OWNER else first)
        herd.mark()
        fault.inflict(scene)
        return _see_it_to_its_end(scene, fault)


def _see_it_to_its_end(scene: Scene, fault: HerdFault) -> FaultResult:
    herd, victim = scene.herd, scene.victim
    others = [node for node in scene.lab.nodes if node is not victim]
    if fault.hits_all:
        fault.heal(scene)
    herd.end(others, timeout=PULL_TIMEOUT)
    failed = [node for node in others if herd.pull_of(node).returncode]
    before = herd.result(others)
    if not fault.hits_all:
        fault.heal(scene)
    herd.end([victim], timeout=HEALED_TIMEOUT)
    began_again = herd.pull_of(victim).returncode != 0
    again = [*failed, victim] if began_again else failed
    herd.begin(*again)
    herd.wait_ended()
    return FaultResult(
        herd.result(),
        [node.name for node in failed],
        began_again,
        before.longest_pause,
        before.seconds,
        had_hit_all=fault.hits_all,
    )


def play_wrong_credentials(lab: Lab, *, seed: int, layer_sizes: Sequence[int], links: Links) -> FaultResult:
    """Let the first of all who ask for an image's layers be one whom the registry refuses.

    The manifest is on one node already: without it, or by tag, whoever is refused would not get as far.
    """
    image = images.image(seed, layer_sizes)
    reference = lab.registry.push(image, f"herd/private{seed}", None)
    refused, holder, *_ = lab.nodes
    holder.containerd.ingest(image.root)
    refused.wait_holders(image.root.digest, holder.name)
    lab.registry.start(is_private=True)
    limit(lab, links)
    with Herd(lab, image, reference) as herd:
        herd.begin(refused, arguments=["--user", f"{USER}:{WRONG_PASSWORD}"])
        herd.wait_ended([refused])
        assert herd.pull_of(refused).returncode != 0, "the registry takes any password"
        others = [node for node in lab.nodes if node is not refused]
        herd.begin(*others, arguments=["--user", f"{USER}:{PASSWORD}"])
        herd.wait_ended()
        failed = [node.name for node in others if herd.pull_of(node).returncode]
        before = herd.result(others)
        # Now that others have all of it, it needs the registry no more.
        herd.begin(refused, arguments=["--user", f"{USER}:{WRONG_PASSWORD}"])
        herd.wait_ended()
        return FaultResult(herd.result(), failed, True, before.longest_pause, before.seconds)


def play_slow_registry(lab: Lab, *, seed: int, layer_sizes: Sequence[int], links: Links) -> FaultResult:
    """Let all nodes pull at once from a registry that is slow."""
    image = images.image(seed, layer_sizes)
    reference = lab.registry.push(image, f"herd/slow{seed}")
    limit(lab, links)
    with Herd(lab, image, reference) as herd:
        herd.begin(*lab.nodes)
        herd.wait_ended()
        result = herd.result()
        return FaultResult(result, result.failed, False, result.longest_pause, result.seconds)


def owner_of(lab: Lab, digest: str) -> Node:
    """The first owner of a digest."""
    owners = lab.nodes[0].admin("/ring", key=digest)["key"]["owners"]
    return next(node for node in lab.nodes if node.name == owners[0]["name"])
