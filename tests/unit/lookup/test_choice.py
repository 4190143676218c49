from __future__ import annotations

import random

import pytest

from spegel_gossip.lookup.choice import ASSUMED_TRANSFER, MAX_SKIP, MIN_SKIP, HolderChoice
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address


def peer(name: str, zone: str = "") -> Peer:
    return Peer(name, zone, (Address("10.0.0.1", 29501),))


A, B = peer("a"), peer("b")


@pytest.fixture(params=range(5))
def choice(request: pytest.FixtureRequest) -> HolderChoice:
    return HolderChoice(zone="here", rng=random.Random(request.param))


def first(choice: HolderChoice, *peers: Peer, now: float = 0.0) -> str:
    return choice.order(peers, now)[0].name


def test_the_own_zone_goes_before_all_others(choice: HolderChoice) -> None:
    far = [peer(f"far-{number}", "there") for number in range(9)]
    assert first(choice, *far, peer("near", "here")) == "near"


def test_everybody_is_named_once(choice: HolderChoice) -> None:
    peers = [peer(f"p{number}", "here" if number % 2 else "") for number in range(20)]
    assert sorted(one.name for one in choice.order(peers, 0.0)) == sorted(one.name for one in peers)


def test_of_two_the_less_busy_goes_first(choice: HolderChoice) -> None:
    choice.started("a", 0.0)
    assert first(choice, A, B) == "b"
    choice.started("b", 0.0)
    choice.started("b", 0.0)
    assert first(choice, A, B) == "a"


def test_of_two_as_busy_the_faster_goes_first(choice: HolderChoice) -> None:
    choice.transferred("a", moved_bytes=1_000, seconds=1.0)
    choice.transferred("b", moved_bytes=9_000, seconds=1.0)
    assert first(choice, A, B) == "b"


def test_a_transfer_ends_when_it_is_reported_or_nobody_reports_it(choice: HolderChoice) -> None:
    choice.started("a", 0.0)
    choice.started("b", 0.0)
    choice.started("b", 0.0)
    choice.missed("a")
    assert first(choice, A, B) == "a"
    choice.transferred("a", moved_bytes=1, seconds=1.0)
    # All are over by now; b's rate is unknown, which counts as fast.
    assert first(choice, A, B, now=ASSUMED_TRANSFER) == "b"


def test_an_unreachable_holder_is_skipped_longer_each_time(choice: HolderChoice) -> None:
    choice.failed("a", 0.0)
    assert choice.order([A], MIN_SKIP - 0.1) == []
    assert choice.order([A], MIN_SKIP) == [A]
    choice.failed("a", 10.0)
    choice.failed("a", 40.0)
    assert choice.order([A], 40.0 + MAX_SKIP - 0.1) == []
    assert choice.order([A], 40.0 + MAX_SKIP) == [A]


def test_a_transfer_or_a_new_boot_ends_the_skipping(choice: HolderChoice) -> None:
    choice.failed("a", 0.0)
    choice.transferred("a", moved_bytes=1, seconds=1.0)
    choice.failed("b", 0.0)
    choice.forget("b")
    assert len(choice.order([A, B], 0.1)) == 2


def test_load_spreads_over_many(choice: HolderChoice) -> None:
    peers = [peer(f"p{number}") for number in range(10)]
    loads = dict.fromkeys((one.name for one in peers), 0)
    for _ in range(200):
        name = first(choice, *peers)
        choice.started(name, 0.0)
        loads[name] += 1
    # One picked at random would come to 30 and more.
    assert max(loads.values()) <= 24
