import random

import pytest

from spegel_gossip.demo.story import Cast

NAMES = [f"node-{number}" for number in range(1, 7)]


@pytest.mark.parametrize("seed", range(10))
def test_everybody_plays_one_part_and_the_last_name_is_the_newcomers(seed: int) -> None:
    cast = Cast.choose(NAMES, random.Random(seed))

    assert cast.newcomer == "node-6"
    assert sorted((cast.first, *cast.crowd, cast.late)) == list(cast.company) == NAMES[:-1]
    assert cast.victim == cast.first


def test_the_seed_decides_who_plays_what() -> None:
    casts = [Cast.choose(NAMES, random.Random(seed)) for seed in (1, 1, 2, 3, 4)]

    assert casts[0] == casts[1]
    assert len({cast.first for cast in casts}) > 1


def test_three_nodes_are_enough() -> None:
    cast = Cast.choose(NAMES[:4], random.Random(0))

    assert len(cast.crowd) == 1
