"""The laws of the ring: a function of its member set, and changed only where the change is."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.ring.handover import handovers
from spegel_gossip.ring.points import (
    LARGE_CLUSTER,
    TOKEN_SPACE,
    VIRTUAL_NODES,
    VIRTUAL_NODES_LARGE,
    virtual_nodes,
)
from spegel_gossip.ring.ring import OWNERS, ZONE_WALK, Ring

names = st.text("abcdef#0123", min_size=1, max_size=4)
zones = st.sampled_from(["", "a", "b", "c"])
memberships = st.dictionaries(names, zones, max_size=12)
tokens = st.integers(0, TOKEN_SPACE - 1)


def some_tokens(count: int = 200) -> list[int]:
    rng = random.Random(1)
    return [rng.getrandbits(64) for _ in range(count)]


def in_order(members: dict[str, str], order: list[str]) -> Ring:
    ring = Ring()
    for name in order:
        ring.add(name, members[name])
    return ring


@given(memberships, st.randoms(use_true_random=False), st.lists(names, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_ring_is_a_function_of_its_members(
    members: dict[str, str], rng: random.Random, passing: list[str]
) -> None:
    order = sorted(members)
    rng.shuffle(order)
    ring = in_order(members, order)
    for name in passing:
        if name not in members:
            ring.add(name, "a")
            ring.remove(name)
    built = Ring.of(members)
    assert ring.epoch == built.epoch
    assert ring.shares() == built.shares()
    for token in some_tokens(50):
        assert ring.preference_list(token) == built.preference_list(token)


@given(memberships, names, zones)
@settings(max_examples=40, deadline=None)
def test_a_join_moves_only_what_the_joiner_gains(members: dict[str, str], name: str, zone: str) -> None:
    members.pop(name, None)
    before, after = Ring.of(members), Ring.of({**members, name: zone})
    for handover in handovers(before, after, some_tokens()):
        assert handover.gained == (name,)
        assert len(handover.lost) <= 1
    # And back again, a leave moves only what the leaver lost.
    for handover in handovers(after, before, some_tokens()):
        assert handover.lost == (name,)


@given(memberships, tokens)
@settings(max_examples=60, deadline=None)
def test_owners_are_distinct_and_of_distinct_zones_where_there_are_enough(
    members: dict[str, str], token: int
) -> None:
    owners = Ring.of(members).preference_list(token)
    assert len(owners) == len(dict.fromkeys(owners)) == min(OWNERS, len(members))
    assert len({members[owner] for owner in owners}) == min(OWNERS, len(set(members.values())))


@given(memberships)
@settings(max_examples=20, deadline=None)
def test_shares_are_the_whole_ring_and_agree_with_the_first_owner(members: dict[str, str]) -> None:
    ring = Ring.of(members)
    shares = ring.shares()
    assert sum(shares.values()) == pytest.approx(1.0 if members else 0.0)
    firsts = Counter(ring.preference_list(token)[0] for token in some_tokens(1_000)) if members else {}
    for name, share in shares.items():
        assert firsts[name] / 1_000 == pytest.approx(share, abs=0.08)


@given(memberships, memberships)
@settings(max_examples=30, deadline=None)
def test_a_change_gives_the_ring_of_the_new_members(old: dict[str, str], new: dict[str, str]) -> None:
    before = Ring.of(old)
    epoch = before.epoch
    after = before.changed_to(new)
    assert (dict(after.zones), after.epoch) == (new, Ring.of(new).epoch)
    assert before.epoch == epoch
    assert dict(before.zones) == old


@pytest.mark.parametrize(("members", "largest_cv"), [(10, 0.15), (100, 0.12), (1000, 0.12)])
def test_shares_are_even(members: int, largest_cv: float) -> None:
    shares = list(Ring.of({f"node-{number}": "" for number in range(members)}).shares().values())
    assert statistics.pstdev(shares) / statistics.mean(shares) < largest_cv


def test_one_join_among_a_hundred_moves_its_share_and_no_more() -> None:
    members = {f"node-{number}": "" for number in range(100)}
    before, after = Ring.of(members), Ring.of({**members, "new": ""})
    moved = sum(1 for _ in handovers(before, after, some_tokens(5_000)))
    assert 0.7 < moved / 5_000 / (OWNERS / 101) < 1.3


def test_a_lone_zone_is_not_made_to_own_everything() -> None:
    members = {f"node-{number}": "ab"[number % 2] for number in range(200)}
    ring = Ring.of({**members, "lone": "c"})
    owned = sum("lone" in ring.preference_list(token) for token in some_tokens(2_000)) / 2_000
    assert owned < 2 * ZONE_WALK / 201


def test_a_large_ring_has_half_the_points_and_comes_back() -> None:
    members = {f"node-{number}": "" for number in range(LARGE_CLUSTER)}
    ring = Ring.of(members)
    assert virtual_nodes(LARGE_CLUSTER) == VIRTUAL_NODES
    ring.add("one more", "")
    assert virtual_nodes(LARGE_CLUSTER + 1) == VIRTUAL_NODES_LARGE
    assert ring.epoch == Ring.of({**members, "one more": ""}).epoch
    assert ring.shares() == Ring.of({**members, "one more": ""}).shares()
    ring.remove("one more")
    assert ring.shares() == Ring.of(members).shares()
