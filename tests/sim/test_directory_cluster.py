"""Whole directories over a lossy network: what the owners say when all has come to rest."""

import random

import pytest

from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.oci.digest import Digest
from spegel_gossip.testing.directories import SimDirectories

SETTLED = 120.0
"""Seconds after the last change by which everything is told and every grace is over."""


def key(number: int) -> PackedKey:
    return pack_key(Digest.of(str(number).encode()))


def assert_owners_agree(cluster: SimDirectories, keys: list[PackedKey]) -> None:
    for one in keys:
        really = cluster.live_holders(one)
        views = {member.engine.owners(one) for member in cluster.members.values()}
        assert len(views) == 1
        for owner in views.pop():
            assert cluster.holders(owner, one) == really, (owner, one.hex()[:12])
            assert not cluster.ask(owner, one).is_young


def disturb(cluster: SimDirectories, rng: random.Random, keys: list[PackedKey], started: list[str]) -> None:
    match rng.randrange(8):
        case 0 if len(cluster.members) > 2:
            cluster.stop(rng.choice(sorted(cluster.members)))
        case 1:
            started.append(f"node-{len(started)}")
            cluster.start(started[-1], zone=rng.choice(("a", "b", "c")))
        case 2:
            name = rng.choice(started)
            if name in cluster.members:
                cluster.stop(name)
            for one in rng.sample(keys, 5):
                cluster.start(name) if name not in cluster.members else None
                cluster.put(name, one)
        case 3 | 4:
            cluster.withdraw(rng.choice(sorted(cluster.members)), rng.choice(keys))
        case _:
            cluster.put(rng.choice(sorted(cluster.members)), rng.choice(keys))


@pytest.mark.parametrize("seed", range(12))
def test_at_rest_all_owners_list_exactly_the_live_holders(seed: int) -> None:
    rng = random.Random(seed)
    cluster = SimDirectories(seed=seed, loss=0.2)
    keys = [key(number) for number in range(30)]
    started = [f"node-{number}" for number in range(6)]
    for name in started:
        cluster.start(name, zone=rng.choice(("a", "b", "c")))
    for _ in range(60):
        disturb(cluster, rng, keys, started)
        cluster.run_for(rng.choice((0.0, 0.01, 0.5, 3.0)))
    cluster.run_for(SETTLED)
    assert_owners_agree(cluster, keys)


def test_at_rest_nothing_is_sent() -> None:
    cluster = SimDirectories(seed=1)
    for number in range(8):
        cluster.start(f"node-{number}")
    for number in range(200):
        cluster.put(f"node-{number % 8}", key(number))
    cluster.run_for(SETTLED)
    packets = cluster.packets
    cluster.run_for(600.0)
    assert cluster.packets == packets
