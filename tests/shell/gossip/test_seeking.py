"""How seeds are looked for: for ever, often while alone and with jitter always."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import trio
import trio.testing

from spegel_gossip.gossip.memory import MemberMemory
from spegel_gossip.gossip.seeking import (
    LONELY_SEEDS_INTERVAL,
    REMEMBERED_SEEDS,
    SEEDS_INTERVAL,
    run_seeking,
)
from spegel_gossip.swim.address import Address

SEED = Address("10.0.0.1", 29501)
HOUR = 3600.0


def others(count: int) -> list[Address]:
    return [Address(f"10.0.1.{number}", 29501) for number in range(1, count + 1)]


class Node:
    """What the loop asks and tells, with the times."""

    def __init__(self, state_dir: Path) -> None:
        self.memory = MemberMemory(state_dir)
        self.is_alone = True
        self.looked_at: list[float] = []
        self.joined: list[list[Address]] = []

    async def find_seeds(self) -> Sequence[Address]:
        self.looked_at.append(trio.current_time())
        return [SEED]

    async def seek(self) -> None:
        await run_seeking(
            self.find_seeds, lambda seeds: self.joined.append([*seeds]), lambda: self.is_alone,
            self.memory, random.Random(1),
        )  # fmt: skip

    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.looked_at)]


async def test_seeds_are_looked_for_for_ever_with_jitter_though_nobody_is_missing(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    node = Node(tmp_path)
    node.is_alone = False
    with trio.move_on_after(24 * HOUR):
        await node.seek()
    gaps = node.gaps()
    assert len(gaps) > 24 * HOUR / SEEDS_INTERVAL[1]
    assert min(gaps) >= SEEDS_INTERVAL[0]
    assert max(gaps) <= SEEDS_INTERVAL[1]
    assert len({round(gap, 3) for gap in gaps}) > len(gaps) // 2
    assert all(seeds == [SEED] for seeds in node.joined[1:])


async def test_a_node_that_is_alone_looks_more_often_and_never_stops(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    node = Node(tmp_path)
    with trio.move_on_after(HOUR):
        await node.seek()
    shortest, longest = LONELY_SEEDS_INTERVAL
    assert node.gaps()[0] <= 1.25 * shortest
    assert max(node.gaps()) <= 1.25 * longest
    assert trio.current_time() - node.looked_at[-1] <= 1.25 * longest


async def test_remembered_members_are_tried_at_once_and_while_we_are_alone(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    node = Node(tmp_path)
    node.memory.remember(others(50))
    with trio.move_on_after(5.0):
        await node.seek()
    assert len(node.joined[0]) == REMEMBERED_SEEDS
    assert set(node.joined[0]) <= set(others(50))
    assert node.joined[1] == [SEED, *node.joined[0]]
    assert set(node.joined[2]) != set(node.joined[1])

    with trio.move_on_after(HOUR):
        await node.seek()
    assert {one for seeds in node.joined for one in seeds} == {SEED, *others(50)}, "all in their turn"

    node.is_alone = False
    node.joined.clear()
    with trio.move_on_after(HOUR):
        await node.seek()
    assert node.joined[1:] == [[SEED]] * (len(node.joined) - 1)
