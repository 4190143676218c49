from __future__ import annotations

import random

import pytest

from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.messages import AckStatus
from spegel_gossip.directory.purges import MAX_CLOCK_LEAD_MS, MAX_PURGES, PURGE_INTERVAL, Purges, PurgeTelling
from spegel_gossip.oci.reference import TagName

NOW_MS = 1_700_000_000_000
TAG = pack_key(TagName("docker.io", "library/nginx", "latest"))


def purges() -> Purges:
    return Purges(max_datagram=1_000, rng=random.Random(1))


def test_the_later_of_two_purges_counts() -> None:
    known = purges()
    assert known.add(TAG, NOW_MS, 0.0, NOW_MS)
    assert not known.add(TAG, NOW_MS - 1, 0.0, NOW_MS)
    assert known.add(TAG, NOW_MS + 5, 0.0, NOW_MS + 5)
    assert known.purged_at_ms(TAG, 0.0) == NOW_MS + 5


def test_a_purge_is_kept_for_a_day_from_its_own_moment() -> None:
    known = purges()
    known.add(TAG, NOW_MS - 1_000_000, 0.0, NOW_MS)
    assert known.purged_at_ms(TAG, PURGE_INTERVAL - 1_001.0) == NOW_MS - 1_000_000
    assert known.purged_at_ms(TAG, PURGE_INTERVAL - 1_000.0) == 0
    assert known.known(PURGE_INTERVAL) == {}


def test_a_purge_of_yesterday_is_none_and_one_of_next_week_counts_from_now() -> None:
    known = purges()
    assert not known.add(TAG, NOW_MS - int(PURGE_INTERVAL * 1000), 0.0, NOW_MS)
    assert known.add(TAG, NOW_MS + MAX_CLOCK_LEAD_MS + 1, 0.0, NOW_MS)
    assert known.purged_at_ms(TAG, 0.0) == NOW_MS
    assert known.add(TAG, NOW_MS + MAX_CLOCK_LEAD_MS, 0.0, NOW_MS)


@pytest.mark.parametrize("days", [-2, 0, 2])
def test_a_member_whose_clock_is_off_purges_what_it_observed_by_its_own_clock(days: int) -> None:
    known = purges()
    known.clock_lead_ms = days * 86_400_000
    own_ms = NOW_MS + known.clock_lead_ms
    assert known.add(TAG, NOW_MS, 0.0, own_ms)
    assert known.covers(TAG, own_ms, 0.0)
    assert not known.covers(TAG, own_ms + 1, 0.0)


def test_who_refuses_a_purge_is_not_told_again_and_counts_as_not_told() -> None:
    known = purges()
    known.add(TAG, NOW_MS, 0.0, NOW_MS)
    known.owe(["peer"], [TAG], 0.0, delay=0.0)
    (told,) = known.handle_timer(1.0, 100)

    assert known.acknowledged("peer", told.message.id, AckStatus.REFUSED, 1.0)

    assert known.owed(TAG) == 1
    assert known.next_timer_at() is None
    # Asked once more, it is told once more; and gone, it counts no more.
    known.add(TAG, NOW_MS + 5, 2.0, NOW_MS + 5)
    known.owe(["peer"], [TAG], 2.0, delay=0.0)
    (again,) = known.handle_timer(3.0, 200)
    assert known.acknowledged("peer", again.message.id, AckStatus.OK, 3.0)
    assert known.owed(TAG) == 0
    known.owe(["peer"], [TAG], 4.0, delay=0.0)
    known.handle_timer(5.0, 300)
    assert known.acknowledged("peer", 300, AckStatus.REFUSED, 5.0)
    known.member_gone("peer")
    assert known.owed(TAG) == 0


def test_the_table_is_bounded_and_the_oldest_goes_first() -> None:
    known = purges()
    keys = [pack_key(TagName("docker.io", "library/nginx", f"v{number}")) for number in range(MAX_PURGES + 1)]
    for number, key in enumerate(keys):
        known.add(key, NOW_MS + number, 0.0, NOW_MS + number)
    assert len(known.known(0.0)) == MAX_PURGES
    assert known.purged_at_ms(keys[0], 0.0) == 0


def test_a_member_is_told_until_it_has_acknowledged() -> None:
    known = purges()
    known.add(TAG, NOW_MS, 0.0, NOW_MS)
    known.owe(["peer"], [TAG], 0.0, delay=0.0)
    now = 0.0
    sent: list[PurgeTelling] = []
    for _ in range(4):
        at = known.next_timer_at()
        assert at is not None
        now = max(now, at)
        sent += known.handle_timer(now, 100 + len(sent))
    assert [told.to for told in sent] == ["peer", "peer"]
    assert known.owed(TAG) == 1
    assert not known.acknowledged("peer", sent[0].message.id, AckStatus.OK, now), "that one was given up"
    sent += known.handle_timer(now + 10.0, 200)
    assert sent[-1].by_stream, "datagrams do not arrive"
    assert known.acknowledged("peer", sent[-1].message.id, AckStatus.OK, now + 10.0)
    assert known.owed(TAG) == 0
    assert known.next_timer_at() is None


def test_what_does_not_fit_into_one_message_follows_in_the_next() -> None:
    known = purges()
    keys = [pack_key(TagName("docker.io", "x" * 200, f"v{number}")) for number in range(10)]
    for key in keys:
        known.add(key, NOW_MS, 0.0, NOW_MS)
    known.owe(["peer"], keys, 0.0, delay=0.0)
    told = []
    for number in range(10):
        at = known.next_timer_at()
        if at is None:
            break
        for one in known.handle_timer(at, number):
            assert len(one.message.items) < 5
            told += [item.key for item in one.message.items]
            known.acknowledged("peer", one.message.id, AckStatus.OK, at)
    assert told == keys


def test_a_member_that_is_gone_is_told_nothing() -> None:
    known = purges()
    known.add(TAG, NOW_MS, 0.0, NOW_MS)
    known.owe(["peer"], [TAG], 0.0, delay=0.0)
    known.member_gone("peer")
    assert known.next_timer_at() is None
