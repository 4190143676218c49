from __future__ import annotations

import itertools
import random

import pytest

from spegel_gossip.directory.advertisement import (
    ACK_TIMEOUT,
    COALESCE_INTERVAL,
    SPREAD_INTERVAL,
    STREAM_AFTER_FAILURES,
    Advertisement,
    Telling,
)
from spegel_gossip.directory.codec import MAX_BATCH_RECORDS
from spegel_gossip.directory.keys import PackedKey, pack_key, token_of
from spegel_gossip.directory.messages import AckStatus
from spegel_gossip.directory.pair import RESYNC_INTERVAL
from spegel_gossip.directory.records import Record, RecordKind, Summary, encode_note
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEYS = [pack_key(Digest.of(str(number).encode())) for number in range(50)]
BOTH = Ring.of({"me": "", "owner": ""})


def told(advertisement: Advertisement, now: float, *, to: str = "owner") -> Telling | None:
    """Return what is due for one owner; whatever is for others is acknowledged."""
    mine = None
    for telling in advertisement.handle_timer(now):
        if telling.owner == to:
            mine = telling
        else:
            advertisement.acknowledged(telling.owner, telling.message.id, AckStatus.OK, now)
    return mine


def put(advertisement: Advertisement, key: PackedKey, now: float) -> None:
    advertisement.put(key, RecordKind.COMPLETE, now, size=1)


def note_for(advertisement: Advertisement, owner: str = "owner") -> bytes | None:
    return dict(advertisement.notes()).get(owner)


@pytest.fixture
def quiet() -> Advertisement:
    """A holder of nothing whose one other owner knows so, at 10 s."""
    advertisement = Advertisement("me", 7, max_datagram=1_100, rng=random.Random(1))
    advertisement.ring_changed(BOTH, (), 0.0)
    telling = told(advertisement, SPREAD_INTERVAL)
    assert telling is not None
    advertisement.acknowledged("owner", telling.message.id, AckStatus.OK, SPREAD_INTERVAL)
    assert advertisement.next_timer_at() is None
    return advertisement


def test_a_new_owner_is_told_that_there_is_nothing_to_tell() -> None:
    advertisement = Advertisement("me", 7, max_datagram=1_100, rng=random.Random(1))
    advertisement.ring_changed(BOTH, (), 0.0)
    telling = told(advertisement, SPREAD_INTERVAL)
    assert telling is not None
    assert (telling.message.boot, telling.message.records, telling.by_stream) == (7, (), False)
    assert telling.message.closing is not None
    assert (telling.message.closing.epoch, telling.message.closing.summary) == (BOTH.epoch, Summary())


def test_changes_close_together_go_together(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    put(quiet, KEYS[1], 10.001)
    assert told(quiet, 10.0) is None
    telling = told(quiet, 10.0 + COALESCE_INTERVAL)
    assert telling is not None
    assert [record.key for record in telling.message.records] == KEYS[:2]
    assert telling.message.closing is None
    sequences = [record.sequence for record in telling.message.records]
    assert sequences == sorted(set(sequences))


def test_news_does_not_wait_for_the_end_of_a_spread() -> None:
    advertisement = Advertisement("me", 7, max_datagram=1_100, rng=random.Random(1))
    advertisement.ring_changed(BOTH, (), 0.0)
    put(advertisement, KEYS[0], 0.0)
    telling = told(advertisement, COALESCE_INTERVAL)
    assert telling is not None
    assert [record.key for record in telling.message.records] == [KEYS[0]]


def test_news_does_not_wait_for_the_next_resync(quiet: Advertisement) -> None:
    quiet.resync("owner", 10.0)
    telling = told(quiet, 10.0 + COALESCE_INTERVAL)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id, AckStatus.DIFFERS, 10.1)
    put(quiet, KEYS[0], 10.2)
    telling = told(quiet, 10.2 + COALESCE_INTERVAL)
    assert telling is not None
    assert [record.key for record in telling.message.records] == [KEYS[0]]


def test_saying_the_same_again_costs_nothing(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    telling = told(quiet, 11.0)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id, AckStatus.OK, 11.0)
    put(quiet, KEYS[0], 12.0)
    quiet.withdraw(KEYS[1], 12.0)
    assert quiet.next_timer_at() is None


def test_what_is_not_acknowledged_is_told_again_later_and_later_then_over_tcp(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    now, gaps, streams = 10.0, [], []
    for _ in range(6):
        while (telling := told(quiet, now)) is None:
            at = quiet.next_timer_at()
            assert at is not None
            assert at > now
            now = at
        gaps.append(now)
        streams.append(telling.by_stream)
        assert [record.key for record in telling.message.records] == KEYS[:1]
        if telling.by_stream:
            quiet.failed("owner", telling.message.id, now)
    pauses = [later - sooner for sooner, later in itertools.pairwise(gaps)]
    assert pauses[-1] > pauses[1] > ACK_TIMEOUT
    assert streams == [False] * STREAM_AFTER_FAILURES + [True] * (6 - STREAM_AFTER_FAILURES)


def test_an_owner_that_nothing_reaches_for_days_is_still_told(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    for _ in range(2_000):
        at = quiet.next_timer_at()
        assert at is not None
        telling = told(quiet, at)
        assert telling is not None
        quiet.failed("owner", telling.message.id, at)
    assert quiet.next_timer_at() is not None


def test_a_change_while_a_telling_is_under_way_follows_it(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    first = told(quiet, 10.1)
    assert first is not None
    quiet.withdraw(KEYS[0], 10.15)
    assert told(quiet, 10.2) is None
    quiet.acknowledged("owner", first.message.id, AckStatus.OK, 10.3)
    second = told(quiet, 10.4)
    assert second is not None
    assert [record.is_withdrawn for record in second.message.records] == [True]
    assert second.message.records[0].sequence > first.message.records[0].sequence
    quiet.acknowledged("owner", second.message.id, AckStatus.OK, 10.5)
    assert dict(quiet.records) == {}


def test_a_late_or_foreign_acknowledgement_says_nothing(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    telling = told(quiet, 11.0)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id + 1, AckStatus.OK, 11.1)
    quiet.acknowledged("stranger", telling.message.id, AckStatus.OK, 11.1)
    quiet.failed("owner", telling.message.id + 1, 11.1)
    assert quiet.next_timer_at() == 11.0 + ACK_TIMEOUT


def test_much_at_once_is_for_a_request_and_more_for_several(quiet: Advertisement) -> None:
    for number in range(MAX_BATCH_RECORDS + 10):
        put(quiet, pack_key(Digest.of(f"many {number}".encode())), 10.0)
    first = told(quiet, 11.0)
    assert first is not None
    assert first.by_stream
    assert len(first.message.records) == MAX_BATCH_RECORDS
    quiet.acknowledged("owner", first.message.id, AckStatus.OK, 11.5)
    second = told(quiet, 12.0)
    assert second is not None
    assert (len(second.message.records), second.by_stream) == (10, False)


def test_the_note_is_held_back_while_something_is_under_way(quiet: Advertisement) -> None:
    assert note_for(quiet) == encode_note(BOTH.epoch, Summary())
    put(quiet, KEYS[0], 10.0)
    assert note_for(quiet) == b""
    telling = told(quiet, 11.0)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id, AckStatus.OK, 11.0)
    record = Record(KEYS[0], RecordKind.COMPLETE, telling.message.records[0].sequence, 1)
    assert note_for(quiet) == encode_note(BOTH.epoch, Summary.of([record], 7))
    assert quiet.notes() == []


def test_a_resync_tells_everything_under_a_new_round_and_closes(quiet: Advertisement) -> None:
    for key in KEYS[:3]:
        put(quiet, key, 10.0)
    telling = told(quiet, 11.0)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id, AckStatus.OK, 11.0)
    quiet.resync("owner", 12.0)
    again = told(quiet, 13.0)
    assert again is not None
    assert again.message.records == telling.message.records
    assert again.message.round == 1
    assert again.message.closing is not None
    assert again.message.closing.last_sequence == telling.message.records[-1].sequence


def test_resyncs_that_do_not_help_come_less_and_less_often(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    telling = told(quiet, 11.0)
    resyncs: list[float] = []
    now = 11.0
    while len(resyncs) < 4:
        if telling is not None:
            if telling.message.records and telling.message.closing is not None:
                resyncs.append(now)
            quiet.acknowledged("owner", telling.message.id, AckStatus.DIFFERS, now)
        at = quiet.next_timer_at()
        assert at is not None
        now = at
        telling = told(quiet, now)
    pauses = [later - sooner for sooner, later in itertools.pairwise(resyncs)]
    assert pauses[0] >= RESYNC_INTERVAL * 0.9
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


def test_who_lives_a_new_boot_is_told_everything(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    telling = told(quiet, 11.0)
    assert telling is not None
    quiet.acknowledged("owner", telling.message.id, AckStatus.OK, 11.0)
    quiet.ring_changed(BOTH, {"owner": None}, 20.0)
    again = told(quiet, 20.0 + SPREAD_INTERVAL)
    assert again is not None
    assert [record.key for record in again.message.records] == KEYS[:1]
    assert again.message.closing is not None


def test_a_raised_boot_numbers_everything_anew(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    told(quiet, 11.0)
    quiet.boot_raised(9, 12.0)
    again = told(quiet, 12.0 + SPREAD_INTERVAL)
    assert again is not None
    assert (again.message.boot, len(again.message.records)) == (9, 1)


def test_who_is_off_the_ring_is_told_nothing_more(quiet: Advertisement) -> None:
    put(quiet, KEYS[0], 10.0)
    quiet.ring_changed(Ring.of({"me": ""}), (), 10.0)
    assert told(quiet, 30.0) is None
    quiet.withdraw(KEYS[0], 31.0)
    told(quiet, 32.0)
    assert dict(quiet.records) == {}


def test_tellings_after_a_join_are_spread() -> None:
    firsts = []
    for seed in range(20):
        advertisement = Advertisement("me", 7, max_datagram=1_100, rng=random.Random(seed))
        advertisement.ring_changed(Ring.of({"me": ""}), (), 0.0)
        told(advertisement, 0.0)
        advertisement.ring_changed(BOTH, (), 100.0)
        told(advertisement, 100.0)
        at = advertisement.next_timer_at()
        assert at is not None
        firsts.append(at - 100.0)
    assert max(firsts) - min(firsts) > SPREAD_INTERVAL / 2
    assert max(firsts) <= SPREAD_INTERVAL


def test_news_is_told_although_a_retry_once_found_nothing_left_to_tell() -> None:
    five = Ring.of(dict.fromkeys(("me", "owner", "b", "c", "d"), ""))
    six = five.changed_to({**five.zones, "e": ""})
    candidates = [pack_key(Digest.of(f"candidate {number}".encode())) for number in range(500)]
    lost = next(
        key
        for key in candidates
        if "owner" in five.preference_list(token_of(key))
        and "owner" not in six.preference_list(token_of(key))
    )
    kept = next(key for key in candidates if "owner" in six.preference_list(token_of(key)))
    advertisement = Advertisement("me", 7, max_datagram=1_100, rng=random.Random(1))

    def told_to_owner(start: float, *, arrives: bool) -> int:
        """Let all be told that is due within a minute; return how many records went to the owner."""
        count = 0
        while (at := advertisement.next_timer_at()) is not None and at < start + 60.0:
            for telling in advertisement.handle_timer(at):
                if telling.owner != "owner" or arrives:
                    advertisement.acknowledged(telling.owner, telling.message.id, AckStatus.OK, at)
                else:
                    advertisement.failed("owner", telling.message.id, at)
                    advertisement.ring_changed(six, (), at)
                count += len(telling.message.records) if telling.owner == "owner" else 0
        return count

    advertisement.ring_changed(five, (), 0.0)
    told_to_owner(0.0, arrives=True)
    put(advertisement, lost, 100.0)
    assert told_to_owner(100.0, arrives=False) == 1
    put(advertisement, kept, 200.0)
    assert told_to_owner(200.0, arrives=True) == 1


class TestWhetherAnOwnerIsTold:
    def test_it_is_as_soon_as_there_is_something_to_tell(self, quiet: Advertisement) -> None:
        assert not quiet.tells("owner", KEYS[0])
        put(quiet, KEYS[0], 10.0)
        assert quiet.tells("owner", KEYS[0])
        assert not quiet.tells("stranger", KEYS[0])
        assert told(quiet, 10.0 + COALESCE_INTERVAL) is not None
        assert quiet.tells("owner", KEYS[0])

    def test_it_is_not_while_what_was_sent_to_it_is_lost(self, quiet: Advertisement) -> None:
        put(quiet, KEYS[0], 10.0)
        assert told(quiet, 10.0 + COALESCE_INTERVAL) is not None
        quiet.handle_timer(10.0 + COALESCE_INTERVAL + ACK_TIMEOUT)
        assert not quiet.tells("owner", KEYS[0])

    def test_it_is_not_while_a_batch_is_under_way(self, quiet: Advertisement) -> None:
        for key in KEYS[1:]:
            put(quiet, key, 10.0)
        telling = told(quiet, 10.0 + COALESCE_INTERVAL)
        assert telling is not None
        assert telling.by_stream
        put(quiet, KEYS[0], 10.1)
        assert not quiet.tells("owner", KEYS[0])
        quiet.acknowledged("owner", telling.message.id, AckStatus.OK, 10.2)
        assert quiet.tells("owner", KEYS[0])
        assert quiet.tells("owner", KEYS[1])

    def test_it_is_not_of_what_is_withdrawn(self, quiet: Advertisement) -> None:
        put(quiet, KEYS[0], 10.0)
        quiet.withdraw(KEYS[0], 10.0)
        assert not quiet.tells("owner", KEYS[0])
