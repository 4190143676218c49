import random

import pytest

from spegel_gossip.prefetch.choice import Candidate, SelectionError, choose

NODES = [Candidate(f"{zone}{number}", zone) for zone in "xyz" for number in range(4)]


def names(selection: str, *, own_zone: str = "x", seed: int = 1) -> list[str]:
    return [one.name for one in choose(NODES, selection, own_zone=own_zone, rng=random.Random(seed))]


def test_all_are_all() -> None:
    assert names("all") == sorted(one.name for one in NODES)


def test_the_zone_is_this_nodes() -> None:
    assert names("zone", own_zone="y") == ["y0", "y1", "y2", "y3"]


@pytest.mark.parametrize("seed", range(5))
def test_a_number_is_spread_over_the_zones(seed: int) -> None:
    assert sorted(name[0] for name in names("5", seed=seed)) == ["x", "x", "y", "y", "z"]
    assert len(set(names("5", seed=seed))) == 5


def test_more_than_there_are_is_all() -> None:
    assert names("99") == names("all")


@pytest.mark.parametrize("selection", ["", "0", "-1", "some", "1.5", "²"])
def test_anything_else_is_refused(selection: str) -> None:
    with pytest.raises(SelectionError, match="give all, zone, or a number"):
        names(selection)


def test_a_node_without_a_zone_has_no_zone_to_mean() -> None:
    with pytest.raises(SelectionError, match="no zone"):
        names("zone", own_zone="")
