"""Four members in memory, each a directory and the fetch desk beside it; a test says what arrives."""

from __future__ import annotations

import random

import pytest

from spegel_gossip.directory.advertisement import ACK_TIMEOUT, COALESCE_INTERVAL, SPREAD_INTERVAL
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.fetch_desk import FetchDesk
from spegel_gossip.directory.fetch_messages import ProgressItem, ProgressState
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

NAMES = ("a", "b", "c", "d")
KEYS = [pack_key(Digest.of(str(number).encode())) for number in range(50)]
MIB = 1 << 20
TOTAL = 100 * MIB
UNIX_MS = 1_700_000_000_000


class Cluster:
    """Members that know each other, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.directories = {
            name: Directory(name, 1, "", max_datagram=1_100, rng=random.Random(name)) for name in NAMES
        }
        self.desks = {
            name: FetchDesk(one, first_token=1, first_id=1) for name, one in self.directories.items()
        }
        ring = Ring.of(dict.fromkeys(NAMES, ""))
        for name, one in self.directories.items():
            one.start(0.0)
            for other in NAMES:
                one.member_alive(other, 1, "", 0.0)
            one.change_ring(ring, 0.0)
            assert name in one.members
        for _ in range(5):
            self.now += SPREAD_INTERVAL
            self.deliver()

    def deliver(self, *, lost_to: str = "") -> None:
        """Have everybody say what is due to the others, one of whom hears nothing."""
        for name, one in self.directories.items():
            one.handle_timer(self.now)
            for message in one.messages_to_send():
                if message.to == lost_to:
                    continue
                reply = self.directories[message.to].receive(message.body, name, self.now, UNIX_MS)
                if reply is not None:
                    one.receive(reply, message.to, self.now, UNIX_MS)

    def done(self, name: str, key: PackedKey, *, token: int = 0, decider: str = "") -> list[str]:
        """Have a member report that it has it all; return who is told."""
        item = ProgressItem(key, token, TOTAL, TOTAL, ProgressState.DONE)
        desk = self.desks[name]
        desk.report([item], deciders=[decider], sharing=0, is_growing=True, now=self.now, unix_ms=UNIX_MS)
        return [message.to for message in desk.messages_to_send()]

    def arriving(self, name: str, key: PackedKey) -> None:
        """Let the owners hear that a member receives a blob."""
        item = ProgressItem(key, 0, MIB, TOTAL, ProgressState.ARRIVING)
        self.desks[name].report([item], sharing=0, is_growing=True, now=self.now, unix_ms=UNIX_MS)
        for message in self.desks[name].messages_to_send():
            self.desks[message.to].receive(message.body, name, self.now, UNIX_MS)

    def has_it_all(self, owner: str, key: PackedKey, name: str) -> bool:
        """Return whether an owner takes a receiver to have it all."""
        spread = self.desks[owner].leases.spread_of(key)
        return spread is not None and spread.receivers[name].is_done


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def key(cluster: Cluster) -> PackedKey:
    """A key that "d" does not own."""
    return next(key for key in KEYS if "d" not in cluster.directories["a"].owners(key))


def test_that_a_reader_has_it_all_is_told_by_its_record_alone(cluster: Cluster, key: PackedKey) -> None:
    owners = cluster.directories["d"].owners(key)
    cluster.arriving("d", key)
    cluster.directories["d"].put(key, cluster.now, size=TOTAL)

    assert cluster.done("d", key) == []
    assert not any(cluster.has_it_all(owner, key, "d") for owner in owners[:2])
    cluster.now += COALESCE_INTERVAL
    cluster.deliver()
    assert all(cluster.has_it_all(owner, key, "d") for owner in owners[:2])
    assert cluster.done("d", key) == []


def test_an_owner_hears_of_its_own_copy_by_its_own_record(cluster: Cluster, key: PackedKey) -> None:
    first, second, _ = cluster.directories["d"].owners(key)
    cluster.arriving(first, key)
    cluster.directories[first].put(key, cluster.now, size=TOTAL)
    assert cluster.done(first, key) == []
    cluster.now += COALESCE_INTERVAL
    cluster.deliver()
    assert cluster.has_it_all(first, key, first)
    assert cluster.has_it_all(second, key, first)


def test_that_a_fetch_is_over_is_told_beside_the_record(cluster: Cluster, key: PackedKey) -> None:
    cluster.directories["d"].put(key, cluster.now, size=TOTAL)
    assert cluster.done("d", key, token=7) == list(cluster.directories["d"].owners(key)[:2])


def test_that_a_reader_has_what_is_not_advertised_is_told(cluster: Cluster, key: PackedKey) -> None:
    assert cluster.done("d", key) == list(cluster.directories["d"].owners(key)[:2])


def test_who_named_the_source_and_is_no_owner_is_told(cluster: Cluster, key: PackedKey) -> None:
    [reader, *_] = cluster.directories["d"].owners(key)
    cluster.directories[reader].put(key, cluster.now, size=TOTAL)
    assert cluster.done(reader, key, decider="d") == ["d"]


def test_an_owner_to_whom_records_do_not_get_through_is_told(cluster: Cluster, key: PackedKey) -> None:
    first, *_ = cluster.directories["d"].owners(key)
    cluster.directories["d"].put(key, cluster.now, size=TOTAL)
    cluster.now += COALESCE_INTERVAL
    cluster.deliver(lost_to=first)
    cluster.now += ACK_TIMEOUT
    cluster.deliver(lost_to=first)
    assert cluster.done("d", key) == [first]
