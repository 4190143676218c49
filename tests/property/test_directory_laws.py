"""The laws of owners and holders: order and repetition of messages make no difference."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import Advertise
from spegel_gossip.directory.records import Record, RecordKind, Summary, record_hash
from spegel_gossip.directory.shard import Shard
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEYS = [pack_key(Digest.of(bytes([number]))) for number in range(3)]

# One holder writes each number once: what a number says is a function of it.
words = st.tuples(st.integers(1, 3), st.integers(1, 12))


def record_of(boot: int, sequence: int) -> Record:
    rng = random.Random(boot * 100 + sequence)
    return Record(
        rng.choice(KEYS), rng.choice((RecordKind.WITHDRAWN, RecordKind.COMPLETE)), sequence, sequence
    )


def told(shard: Shard, words_in_order: list[tuple[int, int]]) -> None:
    for boot, sequence in words_in_order:
        shard.advertised("holder", Advertise(0, boot, 0, (record_of(boot, sequence),)), now=0.0)


def said(shard: Shard) -> dict[PackedKey, list[Record]]:
    return {key: [record for _, record in shard.live_records(key, now=1.0)] for key in KEYS}


def owner(boot: int) -> Shard:
    shard = Shard("owner")
    shard.ring_changed(Ring.of({"owner": "", "holder": ""}), now=0.0)
    shard.member_alive("holder", boot, "", now=0.0)
    return shard


@given(st.lists(words, min_size=1, max_size=15), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_an_owner_ends_alike_whatever_the_order_and_repetition(
    spoken: list[tuple[int, int]], rng: random.Random
) -> None:
    newest = max(boot for boot, _ in spoken)
    first, second = owner(newest), owner(newest)
    told(first, spoken)
    shuffled = spoken + rng.sample(spoken, len(spoken) // 2)
    rng.shuffle(shuffled)
    told(second, shuffled)
    assert said(first) == said(second)
    assert first.summary_of("holder") == second.summary_of("holder")


@given(st.lists(words, min_size=1, max_size=15))
@settings(deadline=None)
def test_the_highest_number_is_what_counts(spoken: list[tuple[int, int]]) -> None:
    newest = max(boot for boot, _ in spoken)
    shard = owner(newest)
    told(shard, spoken)
    for key in KEYS:
        of_key = [record_of(boot, sequence) for boot, sequence in spoken if boot == newest]
        latest = max((one for one in of_key if one.key == key), key=lambda one: one.sequence, default=None)
        expected = [] if latest is None or latest.is_withdrawn else [latest]
        assert said(shard)[key] == expected


@given(st.lists(words, max_size=15))
@settings(deadline=None)
def test_a_summary_kept_step_by_step_is_the_summary_of_the_whole(spoken: list[tuple[int, int]]) -> None:
    newest = max((boot for boot, _ in spoken), default=1)
    shard = owner(newest)
    told(shard, spoken)
    records = [record for one in said(shard).values() for record in one]
    assert shard.summary_of("holder") == Summary.of(records, newest)


@given(st.lists(words, max_size=15), st.booleans())
@settings(deadline=None)
def test_a_dead_holder_is_named_no_more_and_a_refutation_brings_it_back(
    spoken: list[tuple[int, int]], is_dead_first: bool
) -> None:
    shard = owner(3)
    if is_dead_first:
        shard.member_gone("holder", now=0.0)
    told(shard, spoken)
    shard.member_gone("holder", now=0.0)
    assert all(not records for records in said(shard).values())
    shard.member_alive("holder", 3, "", now=1.0)
    alive = owner(3)
    told(alive, spoken)
    assert said(shard) == said(alive)


@given(st.lists(words, max_size=10), st.lists(st.booleans(), max_size=6))
@settings(deadline=None)
def test_summaries_follow_the_ring(spoken: list[tuple[int, int]], changes: list[bool]) -> None:
    others = {f"other-{number}": "" for number in range(8)}
    small = Ring.of({"owner": "", "holder": ""})
    large = Ring.of({"owner": "", "holder": "", **others})
    shard = owner(3)
    told(shard, spoken)
    for is_large in changes:
        shard.ring_changed(large if is_large else small, now=1.0)
    owned = [record for key, records in said(shard).items() if shard.owns(key) for record in records]
    assert shard.summary_of("holder") == Summary.of(owned, 3)


def test_record_hashes_differ_in_every_part() -> None:
    base = Record(KEYS[0], RecordKind.COMPLETE, 1)
    others = [
        Record(KEYS[1], RecordKind.COMPLETE, 1),
        Record(KEYS[0], RecordKind.PARTIAL, 1),
        Record(KEYS[0], RecordKind.COMPLETE, 2),
    ]
    hashes = [record_hash(base, 1), record_hash(base, 2), *(record_hash(one, 1) for one in others)]
    assert len(set(hashes)) == len(hashes)
