"""Clusters of a thousand engines on the simulated network, watched by counters instead of a log."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.events import MemberDied, MemberJoined, MemberLeft, MembershipEvent, MemberSuspected
from spegel_gossip.testing.sim_cluster import SimCluster
from spegel_gossip.testing.sim_network import nothing_dropped

STEP = 0.1
QUIET_TIME = 10.0
"""Seconds after a join until all push-pulls that follow it are over."""

PLAIN_SWIM = SwimConfig(
    suspicion_alpha=5.0,
    confirmations_wanted=0,
    max_local_health=1,
    has_buddy_system=False,
    distrusts_late_wakes=False,
)
LIFEGUARD = SwimConfig(suspicion_alpha=5.0)
LHA_PROBE = SwimConfig(
    suspicion_alpha=5.0, confirmations_wanted=0, has_buddy_system=False, distrusts_late_wakes=False
)
LHA_SUSPICION = SwimConfig(
    suspicion_alpha=5.0, max_local_health=1, has_buddy_system=False, distrusts_late_wakes=False
)
BUDDY = SwimConfig(
    suspicion_alpha=5.0, confirmations_wanted=0, max_local_health=1, distrusts_late_wakes=False
)


@contextmanager
def without_collector() -> Iterator[None]:
    """A million entries are no garbage, and looking whether they are takes longer than the simulation."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Watched:
    """A cluster that joined through one seed, and what its members told of each other."""

    def __init__(self, n: int, *, seed: int, config: SwimConfig | None = None) -> None:
        self.n = n
        self.rng = random.Random(seed)
        self.pairs = 0
        """(observer, member) with the member held live."""
        self.knows: dict[str, dict[str, float]] = {}
        """Who held a member live, since when."""
        self.suspected: dict[str, float] = {}
        """When each member was first suspected by anybody."""
        self.buried: dict[str, dict[str, float]] = {}
        """Who held a member dead, since when."""
        self.began_at = time.thread_time()
        self.cluster = SimCluster(n, seed=seed, config=config, on_event=self._take)

    def _take(self, at: float, observer: str, event: MembershipEvent) -> None:
        match event:
            case MemberJoined(member):
                self.pairs += 1
                self.knows.setdefault(member.name, {})[observer] = at
            case MemberDied(member):
                self.pairs -= 1
                self.buried.setdefault(member.name, {})[observer] = at
            case MemberLeft():
                self.pairs -= 1
            case MemberSuspected(member):
                self.suspected.setdefault(member.name, at)
            case _:
                pass

    def run_until(self, condition: Callable[[], bool], *, within: float) -> float:
        """Simulated seconds until something holds; infinite if it did not."""
        began_at = self.cluster.now
        while not condition():
            if self.cluster.now - began_at > within:
                return float("inf")
            self.cluster.run_for(STEP)
        return self.cluster.now - began_at

    def is_whole(self) -> bool:
        """Whether everybody holds everybody else live."""
        return self.pairs == self.n * (self.n - 1)

    def joined(self) -> float:
        """Let all join; return how long that took."""
        took = self.run_until(self.is_whole, within=60.0)
        self.cluster.run_for(QUIET_TIME)
        return took

    def forget(self) -> None:
        """Forget who was suspected and buried so far."""
        self.suspected.clear()
        self.buried.clear()


def dissemination(watched: Watched, *, newcomers: int) -> list[float]:
    """Seconds until 99 % know each of some newcomers, which come one after the other."""
    took = []
    for number in range(newcomers):
        name = f"new{number}"
        began_at = watched.cluster.now
        seed = f"n{watched.rng.randrange(watched.n)}"
        watched.cluster.add(name, seeds=(seed,))
        watched.cluster.run_for(QUIET_TIME)
        times = sorted(watched.knows[name].values())
        wanted = -(-99 * (watched.n + number) // 100)
        took.append(times[wanted - 1] - began_at if len(times) >= wanted else float("inf"))
    return took


def deaths(watched: Watched, *, trials: int) -> tuple[list[float], list[float]]:
    """Seconds until the first and until the last member holds a killed one dead, many times."""
    first, last = [], []
    for _ in range(trials):
        victim = f"n{watched.rng.randrange(1, watched.n)}"
        watched.forget()
        watched.cluster.run_for(watched.rng.random())
        died_at = watched.cluster.now
        watched.cluster.stop(victim)
        buried = watched.buried.setdefault(victim, {})
        watched.run_until(lambda buried=buried: len(buried) == watched.n - 1, within=90.0)  # type: ignore[misc]
        first.append(min(buried.values(), default=float("inf")) - died_at)
        last.append(max(buried.values()) - died_at if len(buried) == watched.n - 1 else float("inf"))
        watched.cluster.restart(victim)
        watched.run_until(watched.is_whole, within=30.0)
        watched.cluster.run_for(QUIET_TIME)
    return first, last


def healing(watched: Watched, *, minutes: float) -> tuple[float, int]:
    """Split a cluster in halves for a while; return seconds to one cluster, and the deaths of that time."""
    half = watched.n // 2
    watched.cluster.network.drop = lambda source, target: (int(source[1:]) < half) != (int(target[1:]) < half)
    watched.cluster.run_for(60.0 * minutes)
    watched.cluster.network.drop = nothing_dropped
    watched.forget()
    took = watched.run_until(watched.is_whole, within=300.0)
    return took, sum(map(len, watched.buried.values()))


@dataclass
class Falsehood:
    """What a configuration got wrong, and what it sent meanwhile."""

    deaths: int = 0
    """Deaths of well members, each counted by each observer."""

    deaths_at_well: int = 0
    """Of those, what well observers counted."""

    datagrams: int = 0
    datagram_bytes: int = 0


def false_deaths(
    config: SwimConfig, total: Falsehood, *, n: int, sick: int, sick_time: float, well_time: float,
    seconds: float, seed: int,
) -> None:  # fmt: skip
    """Lifeguard's interval experiment: members that stall and go on, all at the same moments.

    Their next send blocks, and then nothing is read, but timers run on: they judge before they hear.

    Args:
        config: the engine's
        total: what is seen is added to it
        n: members
        sick: how many of them stall
        sick_time: seconds for which they do
        well_time: seconds between two stalls
        seconds: for how long, in whole rounds
        seed: of all chance
    """
    watched = Watched(n, seed=seed, config=config)
    watched.joined()
    watched.forget()
    cluster = watched.cluster
    stalled = [f"n{number}" for number in watched.rng.sample(range(n), sick)]
    before = sent_so_far(watched)

    def count() -> None:
        for member, observers in watched.buried.items():
            if member not in stalled:
                total.deaths += len(observers)
                total.deaths_at_well += sum(1 for observer in observers if observer not in stalled)
        watched.forget()

    ends_at = cluster.now + seconds
    while cluster.now < ends_at:
        for name in stalled:
            cluster.stall(name)
        cluster.run_for(sick_time)
        for name in stalled:
            cluster.unstall(name)
        cluster.run_for(well_time)
        count()
    after = sent_so_far(watched)
    total.datagrams += after[0] - before[0]
    total.datagram_bytes += after[1] - before[1]


def sent_so_far(watched: Watched) -> tuple[int, int]:
    """Datagrams of the whole cluster, and the bytes of their bodies."""
    traffic = watched.cluster.network.traffic.values()
    return sum(one.datagrams for one in traffic), sum(one.datagram_bytes for one in traffic)
