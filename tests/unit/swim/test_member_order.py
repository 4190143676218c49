import random
from itertools import pairwise

import pytest

from spegel_gossip.swim.member_order import MemberOrder


class Order(MemberOrder):
    def __init__(self, *names: str, seed: int = 0) -> None:
        self.gone: set[str] = set()
        super().__init__(lambda name: name not in self.gone, rng=random.Random(seed))
        for name in names:
            self.insert(name)


def test_nobody_to_probe_is_no_member() -> None:
    assert Order().next_member() is None
    order = Order("a", "b")
    order.gone |= {"a", "b"}
    assert order.next_member() is None


@pytest.mark.parametrize("seed", range(5))
def test_each_round_has_everybody_once(seed: int) -> None:
    names = [f"n{number}" for number in range(7)]
    order = Order(*names, seed=seed)
    for _ in range(4):
        assert sorted(order.next_member() or "" for _ in names) == names


@pytest.mark.parametrize("seed", range(5))
def test_two_turns_of_one_member_are_less_than_two_rounds_apart(seed: int) -> None:
    names = [f"n{number}" for number in range(6)]
    order = Order(*names, seed=seed)
    turns = [order.next_member() for _ in range(60)]
    at = [when for when, name in enumerate(turns) if name == "n3"]
    assert max(later - earlier for earlier, later in pairwise(at)) <= 2 * len(names) - 1


@pytest.mark.parametrize("seed", range(10))
def test_a_newcomer_makes_nobody_else_wait_or_come_twice(seed: int) -> None:
    order = Order("a", "b", "c", "d", seed=seed)
    first = [order.next_member() for _ in range(2)]
    order.insert("new")
    rest = [order.next_member() for _ in range(2)]
    old = [name for name in first + rest if name != "new"]
    assert len(set(old)) == len(old)


def test_a_former_candidate_is_passed_over() -> None:
    order = Order("a", "b", "c")
    order.gone.add("b")
    assert {order.next_member() for _ in range(9)} == {"a", "c"}


def test_one_that_returns_has_its_turn_again() -> None:
    order = Order("a", "b")
    order.gone.add("b")
    for _ in range(4):
        order.next_member()
    order.gone.clear()
    order.insert("b")
    assert {order.next_member() for _ in range(4)} == {"a", "b"}


def test_names_that_come_and_go_between_two_turns_do_not_pile_up() -> None:
    order = Order("a", "b")
    assert order.next_member() in {"a", "b"}
    for number in range(1000):
        order.insert(f"x{number}")
        order.gone.add(f"x{number}")
    assert len(order) <= 2 * 64
    assert {order.next_member() for _ in range(4)} == {"a", "b"}
