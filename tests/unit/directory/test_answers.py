from __future__ import annotations

import random

from spegel_gossip.directory.answers import MAX_CLOCK_LEAD_MS, Answerer
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import MAX_HOLDERS_ANSWERED, Advertise, KeyAnswer
from spegel_gossip.directory.records import Record, RecordKind
from spegel_gossip.directory.shard import HIDDEN_INTERVAL, Shard
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.ring.ring import Ring
from spegel_gossip.swim.names import name_hash

BLOB = pack_key(Digest.of(b"blob"))
TAG = pack_key(TagName("docker.io", "library/nginx", "latest"))
OLD, NEW = pack_key(Digest.of(b"old")), pack_key(Digest.of(b"new"))
UNIX_MS = 1_700_000_000_000


def shard_with(*records: tuple[str, str, Record]) -> Shard:
    """Return a shard to which holders, by name and zone, have told these."""
    shard = Shard("owner")
    shard.ring_changed(Ring.of({"owner": ""}), now=0.0)
    for name, zone, record in records:
        shard.member_alive(name, 1, zone, now=0.0)
        shard.advertised(name, Advertise(0, 1, 0, (record,)), now=0.0)
    return shard


def ask(shard: Shard, key: PackedKey, *, asker: str = "asker", zone: str = "", now: float = 0.0) -> KeyAnswer:
    return Answerer(shard, rng=random.Random(1)).answer(
        key, asker=asker, zone=zone, is_young=False, has_same_view=True, now=now, unix_ms=UNIX_MS
    )


def blob(kind: int = RecordKind.COMPLETE, size: int = 5) -> Record:
    return Record(BLOB, kind, 1, size)


def tagged(digest: PackedKey, observed_at_ms: int) -> Record:
    return Record(TAG, RecordKind.COMPLETE, 1, 5, digest, observed_at_ms)


def hashes(*names: str) -> set[int]:
    return {name_hash(name) for name in names}


def test_complete_and_partial_holders_are_told_apart_and_unknown_kinds_left_out() -> None:
    answer = ask(
        shard_with(("a", "", blob()), ("b", "", blob(RecordKind.PARTIAL)), ("c", "", blob(99))), BLOB
    )
    assert set(answer.holders) == hashes("a")
    assert set(answer.partials) == hashes("b")
    assert answer.size == 5


def test_the_asker_is_not_named_to_itself() -> None:
    answer = ask(shard_with(("a", "", blob()), ("b", "", blob())), BLOB, asker="a")
    assert set(answer.holders) == hashes("b")


def test_of_many_holders_those_of_the_askers_zone_come_first() -> None:
    many = [(f"far-{number}", "z2", blob()) for number in range(100)]
    near = [(f"near-{number}", "z1", blob()) for number in range(10)]
    answer = ask(shard_with(*many, *near), BLOB, zone="z1")
    assert len(answer.holders) == MAX_HOLDERS_ANSWERED
    assert set(answer.holders[:10]) == hashes(*(name for name, _, _ in near))


def test_a_hidden_holder_is_back_after_a_while_or_when_it_speaks() -> None:
    shard = shard_with(("a", "", blob()))
    assert shard.hide(BLOB, "a", now=0.0)
    assert not shard.hide(BLOB, "a", now=1.0)  # one report is enough
    assert ask(shard, BLOB, now=HIDDEN_INTERVAL - 0.1).is_nobody
    assert not ask(shard, BLOB, now=HIDDEN_INTERVAL).is_nobody
    assert shard.hide(BLOB, "a", now=100.0)
    shard.advertised("a", Advertise(0, 1, 0, (Record(BLOB, RecordKind.COMPLETE, 2),)), now=100.0)
    assert not ask(shard, BLOB, now=100.1).is_nobody


def test_the_newest_observation_names_the_tag() -> None:
    shard = shard_with(
        ("a", "", tagged(OLD, 1_000)), ("b", "", tagged(OLD, 1_000)), ("c", "", tagged(NEW, 2_000))
    )
    answer = ask(shard, TAG)
    assert (answer.digest, answer.observed_at_ms, set(answer.holders)) == (NEW, 2_000, hashes("c"))


def test_holders_of_what_the_tag_names_count_whenever_they_saw_it() -> None:
    shard = shard_with(("a", "", tagged(NEW, 0)), ("c", "", tagged(NEW, 2_000)))
    assert set(ask(shard, TAG).holders) == hashes("a", "c")


def test_where_nobody_knows_when_most_holders_decide() -> None:
    shard = shard_with(("a", "", tagged(OLD, 0)), ("b", "", tagged(NEW, 0)), ("c", "", tagged(NEW, 0)))
    assert ask(shard, TAG).digest == NEW


def test_an_observation_from_the_future_is_refused() -> None:
    lead = UNIX_MS + MAX_CLOCK_LEAD_MS
    shard = shard_with(("a", "", tagged(OLD, 1_000)), ("b", "", tagged(NEW, lead + 1)))
    assert ask(shard, TAG).digest == OLD
    assert ask(shard_with(("b", "", tagged(NEW, lead))), TAG).digest == NEW


def test_the_asker_learns_that_its_own_is_the_newest() -> None:
    shard = shard_with(("a", "", tagged(OLD, 1_000)), ("b", "", tagged(NEW, 2_000)))
    answer = ask(shard, TAG, asker="b")
    assert (answer.digest, answer.holders) == (NEW, ())
