from __future__ import annotations

import pytest

from spegel_gossip.directory.inquiry import INQUIRY_TIMEOUT, Inquiry, Verdict, reading_order
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import KeyAnswer
from spegel_gossip.oci.digest import Digest

KEY = pack_key(Digest.of(b"one"))
OTHER = pack_key(Digest.of(b"two"))
OWNERS = ("a", "b", "c")

NOBODY = KeyAnswer(is_young=False, has_same_view=True)
YOUNG = KeyAnswer(is_young=True, has_same_view=True)
OTHER_VIEW = KeyAnswer(is_young=False, has_same_view=False)
FOUND = KeyAnswer(is_young=True, has_same_view=False, holders=(7,))


def verdict(inquiry: Inquiry, key: PackedKey = KEY) -> Verdict | None:
    outcome = inquiry.outcome().get(key)
    return None if outcome is None else outcome[1]


def begun(now: float = 0.0) -> Inquiry:
    inquiry = Inquiry((KEY,), OWNERS, now)
    assert inquiry.owners_to_ask(now) == ["a"]
    return inquiry


def test_holders_from_anybody_end_it() -> None:
    inquiry = begun()
    inquiry.answered("a", {KEY: FOUND})
    assert verdict(inquiry) is Verdict.FOUND
    assert inquiry.next_timer_at() is None
    assert inquiry.owners_to_ask(9.0) == []
    assert inquiry.hedges == 0


def test_nobody_from_an_owner_that_can_know_ends_it() -> None:
    inquiry = begun()
    inquiry.answered("a", {KEY: NOBODY})
    assert verdict(inquiry) is Verdict.NOBODY


@pytest.mark.parametrize("doubtful", [YOUNG, OTHER_VIEW])
def test_nobody_from_one_that_may_not_know_asks_the_next_at_once(doubtful: KeyAnswer) -> None:
    inquiry = begun()
    inquiry.answered("a", {KEY: doubtful})
    assert verdict(inquiry) is None
    assert inquiry.owners_to_ask(0.001) == ["b"]
    inquiry.answered("b", {KEY: NOBODY})
    assert verdict(inquiry) is Verdict.NOBODY


def test_three_that_may_not_know_are_enough_together() -> None:
    inquiry = begun()
    for owner in OWNERS:
        inquiry.answered(owner, {KEY: YOUNG})
        inquiry.owners_to_ask(0.001)
    assert verdict(inquiry) is Verdict.NOBODY


def test_one_doubtful_owner_repeating_itself_counts_once() -> None:
    inquiry = begun()
    for _ in range(3):
        inquiry.answered("a", {KEY: YOUNG})
    assert verdict(inquiry) is None


def test_slow_owners_are_hedged_then_asked_again_then_given_up() -> None:
    inquiry = begun(now=10.0)
    assert inquiry.next_timer_at() == pytest.approx(10.025)
    assert inquiry.owners_to_ask(10.024) == []
    assert inquiry.owners_to_ask(10.025) == ["b"]
    assert inquiry.next_timer_at() == pytest.approx(10.1)
    assert inquiry.owners_to_ask(10.1) == ["c"]
    assert inquiry.next_timer_at() == pytest.approx(10.4)
    inquiry.answered("b", {KEY: YOUNG})
    assert inquiry.owners_to_repeat(10.39) == []
    assert inquiry.owners_to_repeat(10.4) == ["a", "c"]
    assert inquiry.owners_to_repeat(10.5) == []
    assert inquiry.next_timer_at() == pytest.approx(10.0 + INQUIRY_TIMEOUT)
    inquiry.handle_timer(10.0 + INQUIRY_TIMEOUT)
    # One answered that does not know; who may know is silent.
    assert verdict(inquiry) is Verdict.UNREACHABLE
    assert inquiry.hedges == 2


def test_when_all_that_are_silent_cannot_be_reached_it_ends_at_once() -> None:
    inquiry = begun(now=10.0)
    inquiry.owners_to_ask(10.1)
    inquiry.answered("b", {KEY: YOUNG})
    inquiry.owners_to_ask(10.1)
    inquiry.failed("a")
    assert verdict(inquiry) is None
    inquiry.failed("c")
    assert verdict(inquiry) is Verdict.UNREACHABLE


def test_silence_of_all_is_not_nobody() -> None:
    inquiry = begun()
    inquiry.handle_timer(INQUIRY_TIMEOUT)
    assert verdict(inquiry) is Verdict.UNREACHABLE


def test_without_an_owner_nobody_can_be_asked() -> None:
    inquiry = Inquiry((KEY,), (), 0.0)
    assert inquiry.owners_to_ask(0.0) == []
    inquiry.handle_timer(0.0)
    assert verdict(inquiry) is Verdict.UNREACHABLE


def test_an_owner_that_cannot_be_reached_is_followed_by_the_next_at_once() -> None:
    inquiry = begun()
    inquiry.failed("a")
    assert inquiry.owners_to_ask(0.001) == ["b"]


def test_a_stranger_is_not_listened_to() -> None:
    inquiry = begun()
    inquiry.answered("x", {KEY: FOUND})
    assert verdict(inquiry) is None


def test_a_very_late_start_of_the_clock_asks_all_that_are_due() -> None:
    inquiry = Inquiry((KEY,), OWNERS, 0.0)
    assert inquiry.owners_to_ask(5.0) == ["a", "b", "c"]


def test_keys_of_one_inquiry_end_each_on_its_own() -> None:
    inquiry = Inquiry((KEY, OTHER), OWNERS, 0.0)
    inquiry.owners_to_ask(0.0)
    inquiry.answered("a", {KEY: FOUND, OTHER: YOUNG})
    assert inquiry.open_keys == (OTHER,)
    assert inquiry.owners_to_ask(0.001) == ["b"]
    inquiry.answered("b", {OTHER: NOBODY})
    assert (verdict(inquiry, KEY), verdict(inquiry, OTHER)) == (Verdict.FOUND, Verdict.NOBODY)


def test_an_owner_asks_itself_first() -> None:
    assert reading_order(OWNERS, "b") == ("b", "c", "a")
    assert reading_order((), "b") == ()


def test_askers_spread_over_the_owners() -> None:
    first = [reading_order(OWNERS, f"asker-{number}")[0] for number in range(300)]
    assert all(first.count(owner) > 60 for owner in OWNERS)
