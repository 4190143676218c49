"""Purges in whole clusters: everybody hears, and what is older is named by nobody."""

from __future__ import annotations

import random

import pytest

from spegel_gossip.directory.engine import Directory
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


MINUTE, DAY = 60_000, 86_400_000


class SkewedClocks:
    """Three members, of which one has a clock that is off; what they say arrives at once."""

    def __init__(self, off_ms: int, *, is_known: bool) -> None:
        self.now = 0.0
        self._off_ms = off_ms
        self.engines = {
            name: Directory(name, 5, "", max_datagram=1_100, rng=random.Random(name)) for name in "abc"
        }
        for engine in self.engines.values():
            engine.start(self.now)
            for name in "abc":
                engine.member_alive(name, 5, "", self.now)
        if is_known:
            self.engines["a"].purges.clock_lead_ms = off_ms

    def unix_ms(self, name: str) -> int:
        return UNIX_MS + int(1000 * self.now) + (self._off_ms if name == "a" else 0)

    def observe(self, name: str) -> None:
        self.engines[name].put(TAG, self.now, digest=OLD, observed_at_ms=self.unix_ms(name))

    def purge(self, name: str) -> None:
        engine = self.engines[name]
        engine.purge(TAG, self.unix_ms(name) - engine.purges.clock_lead_ms, self.now)
        for _ in range(200):
            self.now += 0.05
            for sender, one in self.engines.items():
                one.handle_timer(self.now)
                for sent in one.messages_to_send():
                    answer = self.engines[sent.to].receive(sent.body, sender, self.now, self.unix_ms(sent.to))
                    if answer is not None:
                        one.receive(answer, sent.to, self.now, self.unix_ms(sender))

    def holding(self) -> list[str]:
        """Who still advertises what it observed."""
        return [name for name, engine in self.engines.items() if engine.has_advertised(TAG)]


@pytest.mark.parametrize("purger", ["a", "b"])
@pytest.mark.parametrize("off_ms", [0, 3 * MINUTE, 10 * MINUTE, 2 * DAY, -3 * MINUTE, -10 * MINUTE, -2 * DAY])
def test_a_purge_reaches_all_and_covers_all_whosever_clock_is_off(off_ms: int, purger: str) -> None:
    cluster = SkewedClocks(off_ms, is_known=True)
    for name in "abc":
        cluster.observe(name)
    cluster.now += 1.0

    cluster.purge(purger)

    assert cluster.engines[purger].purges.owed(TAG) == 0
    assert cluster.holding() == []
    for name, engine in cluster.engines.items():
        engine.put(TAG, cluster.now, digest=NEW, observed_at_ms=cluster.unix_ms(name))
    assert cluster.holding() == ["a", "b", "c"], "what is observed from then on counts"


def test_a_purge_from_the_future_by_an_unknown_clock_counts_from_now() -> None:
    cluster = SkewedClocks(10 * MINUTE, is_known=False)
    for name in "abc":
        cluster.observe(name)
    cluster.now += 1.0

    cluster.purge("a")

    assert cluster.engines["a"].purges.owed(TAG) == 0
    assert cluster.holding() == []


def test_those_who_refuse_a_purge_as_too_old_count_as_not_told() -> None:
    cluster = SkewedClocks(-2 * DAY, is_known=False)

    cluster.purge("a")

    assert cluster.engines["a"].purges.owed(TAG) == 2
    assert [engine.purges.purged_at_ms(TAG, cluster.now) > 0 for engine in cluster.engines.values()] == [
        True, False, False,
    ]  # fmt: skip
