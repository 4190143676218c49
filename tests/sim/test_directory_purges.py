"""Purges in whole clusters: everybody hears, and what is older is named by nobody."""

from __future__ import annotations

import pytest

from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.testing.directories import UNIX_MS, SimDirectories

TAG = pack_key(TagName("docker.io", "library/nginx", "latest"))
OLD, NEW = pack_key(Digest.of(b"old")), pack_key(Digest.of(b"new"))


def grown(size: int, *, seed: int, loss: float = 0.0) -> SimDirectories:
    cluster = SimDirectories(seed=seed, loss=loss)
    for number in range(size):
        cluster.start(f"node-{number}")
    cluster.run_for(40.0)
    return cluster


def named(cluster: SimDirectories) -> set[PackedKey | None]:
    """Return what the owners say that the tag names."""
    owners = cluster.members["node-0"].engine.owners(TAG)
    return {cluster.ask(owner, TAG).digest for owner in owners}


@pytest.mark.parametrize("seed", range(4))
def test_everybody_hears_of_a_purge_and_only_newer_observations_are_named(seed: int) -> None:
    cluster = grown(10, seed=seed, loss=0.3)
    for name in ("node-3", "node-4"):
        cluster.put_tag(name, TAG, OLD, UNIX_MS - 5_000)
    cluster.run_for(10.0)
    assert named(cluster) == {OLD}
    cluster.purge("node-1", TAG)
    cluster.run_for(30.0)
    assert all(
        member.engine.purges.purged_at_ms(TAG, cluster.now) == UNIX_MS for member in cluster.members.values()
    )
    assert named(cluster) == {None}
    cluster.put_tag("node-5", TAG, OLD, UNIX_MS - 1)
    cluster.run_for(10.0)
    assert named(cluster) == {None}
    cluster.put_tag("node-5", TAG, NEW, UNIX_MS + 1)
    cluster.run_for(10.0)
    assert named(cluster) == {NEW}


@pytest.mark.parametrize("seed", range(4))
def test_whoever_joins_or_comes_back_hears_of_it_too(seed: int) -> None:
    cluster = grown(8, seed=seed, loss=0.1)
    cluster.stop("node-5")
    cluster.run_for(10.0)
    cluster.purge("node-1", TAG)
    cluster.run_for(10.0)
    cluster.start("node-5")
    cluster.put_tag("node-5", TAG, OLD, UNIX_MS - 5_000)
    cluster.start("joiner")
    cluster.run_for(30.0)
    for name in ("node-5", "joiner"):
        assert cluster.members[name].engine.purges.purged_at_ms(TAG, cluster.now) == UNIX_MS
    assert named(cluster) == {None}


@pytest.mark.parametrize("seed", range(4))
def test_it_spreads_although_whoever_was_asked_dies_at_once(seed: int) -> None:
    cluster = grown(10, seed=seed)
    owner = cluster.members["node-0"].engine.owners(TAG)[0]
    asked = next(name for name in cluster.members if name != owner)
    cluster.cut = lambda source, target: source == asked and target != owner
    cluster.purge(asked, TAG)
    cluster.run_for(1.0)
    cluster.stop(asked)
    cluster.run_for(30.0)
    assert all(member.engine.purges.purged_at_ms(TAG, cluster.now) for member in cluster.members.values())


def test_when_all_have_heard_nothing_more_is_sent() -> None:
    cluster = grown(6, seed=1)
    cluster.purge("node-1", TAG)
    cluster.run_for(60.0)
    packets = cluster.packets
    cluster.run_for(600.0)
    assert cluster.packets == packets
