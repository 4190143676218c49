from __future__ import annotations

import pytest

from spegel_gossip.directory import shard as shard_module
from spegel_gossip.directory.keys import PackedKey, pack_key, token_of
from spegel_gossip.directory.messages import AckStatus, Advertise, Closing
from spegel_gossip.directory.records import Record, RecordKind, Summary
from spegel_gossip.directory.shard import (
    FORMER_OWNER_INTERVAL,
    GONE_HOLDER_INTERVAL,
    TOMBSTONE_INTERVAL,
    Shard,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEYS = [pack_key(Digest.of(bytes([number]))) for number in range(20)]
ALONE = Ring.of({"owner": ""})
MANY = Ring.of({"owner": "", **{f"other-{number}": "" for number in range(9)}})


def record(key: PackedKey, sequence: int, kind: int = RecordKind.COMPLETE) -> Record:
    return Record(key, kind, sequence)


def tell(
    shard: Shard,
    *records: Record,
    boot: int = 1,
    round_: int = 0,
    closing: Closing | None = None,
    now: float = 0.0,
) -> AckStatus:
    return shard.advertised("holder", Advertise(0, boot, round_, records, closing), now)


def named(shard: Shard, key: PackedKey, now: float = 0.0) -> list[str]:
    return [holder.name for holder, _ in shard.live_records(key, now)]


@pytest.fixture
def shard() -> Shard:
    shard = Shard("owner")
    shard.ring_changed(ALONE, 0.0)
    shard.member_alive("holder", 1, "", 0.0)
    return shard


def test_a_withdrawal_outlives_any_older_word_under_way(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 2, RecordKind.WITHDRAWN))
    shard.handle_timer(TOMBSTONE_INTERVAL - 1)
    tell(shard, record(KEYS[0], 1))
    assert named(shard, KEYS[0]) == []
    assert shard.next_timer_at() == TOMBSTONE_INTERVAL
    shard.handle_timer(TOMBSTONE_INTERVAL)
    assert shard.counts()["withdrawn"] == 0
    assert shard.next_timer_at() is None


def test_a_tombstone_that_was_overtaken_ends_nothing(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 2, RecordKind.WITHDRAWN))
    tell(shard, record(KEYS[0], 3))
    shard.handle_timer(TOMBSTONE_INTERVAL)
    assert named(shard, KEYS[0]) == ["holder"]


def test_a_new_boot_drops_what_the_old_one_said(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 9))
    shard.member_alive("holder", 2, "", 1.0)
    assert named(shard, KEYS[0]) == []
    tell(shard, record(KEYS[0], 10), boot=1)
    assert named(shard, KEYS[0]) == []
    tell(shard, record(KEYS[0], 1), boot=2)
    assert named(shard, KEYS[0]) == ["holder"]


def test_what_comes_before_its_holder_is_known_is_named_once_it_is() -> None:
    shard = Shard("owner")
    shard.ring_changed(ALONE, 0.0)
    tell(shard, record(KEYS[0], 1))
    assert named(shard, KEYS[0]) == []
    shard.member_alive("holder", 1, "", 1.0)
    assert named(shard, KEYS[0]) == ["holder"]


def test_a_holder_that_stays_away_is_forgotten(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 1))
    shard.member_gone("holder", 5.0)
    shard.handle_timer(5.0 + GONE_HOLDER_INTERVAL - 1)
    assert shard.counts()["complete"] == 1
    assert shard.next_timer_at() == 5.0 + GONE_HOLDER_INTERVAL
    shard.handle_timer(5.0 + GONE_HOLDER_INTERVAL)
    assert shard.counts()["complete"] == 0
    assert shard.next_timer_at() is None


def test_a_former_owner_answers_for_a_while(shard: Shard) -> None:
    for sequence, key in enumerate(KEYS):
        tell(shard, record(key, sequence))
    shard.ring_changed(MANY, 10.0)
    lost = [key for key in KEYS if "owner" not in MANY.preference_list(token_of(key))]
    assert 0 < len(lost) < len(KEYS)
    assert all(named(shard, key) for key in KEYS)
    assert shard.summary_of("holder").count == len(KEYS) - len(lost)
    assert shard.next_timer_at() == 10.0 + FORMER_OWNER_INTERVAL
    shard.handle_timer(10.0 + FORMER_OWNER_INTERVAL)
    assert [key for key in KEYS if not named(shard, key)] == lost


def test_a_key_told_before_the_ring_gives_it_is_kept_until_then(shard: Shard) -> None:
    shard.ring_changed(MANY, 0.0)
    early = next(key for key in KEYS if "owner" not in MANY.preference_list(token_of(key)))
    tell(shard, record(early, 1))
    assert not shard.owns(early)
    assert shard.summary_of("holder") == Summary()
    shard.ring_changed(ALONE, 1.0)
    shard.handle_timer(FORMER_OWNER_INTERVAL + 1)
    assert named(shard, early) == ["holder"]
    assert shard.summary_of("holder").count == 1


def test_a_closing_that_agrees_is_well_and_one_that_does_not_is_said(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 1))
    same = Closing(ALONE.epoch, Summary.of([record(KEYS[0], 1)], 1), 1)
    assert tell(shard, closing=same) is AckStatus.OK
    assert shard.has_closed("holder", 1)
    assert tell(shard, closing=Closing(ALONE.epoch, Summary(5, 5), 1)) is AckStatus.DIFFERS
    # Under another ring there is nothing to compare.
    assert tell(shard, closing=Closing(MANY.epoch, Summary(5, 5), 1)) is AckStatus.OK


def test_a_resync_drops_what_it_did_not_tell_again(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 1), record(KEYS[1], 2))
    tell(shard, record(KEYS[2], 4))  # told while the round was on its way
    summary = Summary.of([record(KEYS[1], 2), record(KEYS[2], 4)], 1)
    status = tell(shard, record(KEYS[1], 2), round_=1, closing=Closing(ALONE.epoch, summary, 3))
    assert status is AckStatus.OK
    assert [bool(named(shard, key)) for key in KEYS[:3]] == [False, True, True]


def test_a_withdrawal_outlives_a_resync_that_does_not_tell_it_again(shard: Shard) -> None:
    # Seeds 106 and 108 of the long histories: the copy that came late was named until the next difference.
    tell(shard, record(KEYS[0], 2, RecordKind.WITHDRAWN))
    tell(shard, round_=1, closing=Closing(ALONE.epoch, Summary(), 2))
    tell(shard, record(KEYS[0], 1))
    assert named(shard, KEYS[0]) == []


def test_tables_are_bounded(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "MAX_RECORDS_PER_HOLDER", 3)
    monkeypatch.setattr(shard_module, "MAX_HOLDERS", 2)
    tell(shard, *(record(key, 1) for key in KEYS))
    assert (shard.counts()["complete"], shard.refused) == (3, len(KEYS) - 3)
    for name in ("x", "y", "z"):
        shard.advertised(name, Advertise(0, 1, 0, (record(KEYS[0], 1),)), 0.0)
    assert shard.counts()["complete"] == 4


def test_kinds_of_a_later_release_are_kept_and_counted_apart(shard: Shard) -> None:
    tell(shard, record(KEYS[0], 1, kind=77))
    assert shard.counts() == {"withdrawn": 0, "complete": 0, "partial": 0, "unknown": 1}
    assert shard.summary_of("holder").count == 1
