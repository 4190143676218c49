import random
from itertools import pairwise

import pytest

from spegel_gossip.swim.member_order import MemberOrder


def order_of(*names: str, seed: int = 0) -> MemberOrder:
    order = MemberOrder(rng=random.Random(seed))
    for name in names:
        order.insert(name)
    return order


def test_nobody_to_probe_is_no_target() -> None:
    assert order_of().next_member(lambda _: True) is None
    assert order_of("a", "b").next_member(lambda _: False) is None


@pytest.mark.parametrize("seed", range(5))
def test_each_round_probes_everybody_once(seed: int) -> None:
    names = [f"n{number}" for number in range(7)]
    order = order_of(*names, seed=seed)
    for _ in range(4):
        assert sorted(order.next_member(lambda _: True) or "" for _ in names) == names


@pytest.mark.parametrize("seed", range(5))
def test_two_probes_of_one_member_are_less_than_two_rounds_apart(seed: int) -> None:
    names = [f"n{number}" for number in range(6)]
    order = order_of(*names, seed=seed)
    probed = [order.next_member(lambda _: True) for _ in range(60)]
    at = [when for when, name in enumerate(probed) if name == "n3"]
    assert max(later - earlier for earlier, later in pairwise(at)) <= 2 * len(names) - 1


@pytest.mark.parametrize("seed", range(10))
def test_a_newcomer_makes_nobody_else_wait_or_come_twice(seed: int) -> None:
    order = order_of("a", "b", "c", "d", seed=seed)
    first = [order.next_member(lambda _: True) for _ in range(2)]
    order.insert("new")
    rest = [order.next_member(lambda _: True) for _ in range(2)]
    old = [name for name in first + rest if name != "new"]
    assert len(set(old)) == len(old)


def test_one_that_is_no_candidate_any_more_is_passed_over() -> None:
    order = order_of("a", "b", "c")
    assert {order.next_member(lambda name: name != "b") for _ in range(9)} == {"a", "c"}


def test_one_that_returns_is_probed_again() -> None:
    order = order_of("a", "b")
    for _ in range(4):
        order.next_member(lambda name: name != "b")
    order.insert("b")
    assert {order.next_member(lambda _: True) for _ in range(4)} == {"a", "b"}
