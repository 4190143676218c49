from __future__ import annotations

import pytest

from spegel_gossip.directory.youth import MAX_FORMER_RINGS, YOUNG_INTERVAL, Youth
from spegel_gossip.ring.ring import Ring

TOKEN = 12345


def ring(*names: str) -> Ring:
    return Ring.of(dict.fromkeys(names, ""))


ALONE = ring("me")


def owner() -> Youth:
    youth = Youth("me")
    youth.ring_changed(ALONE, ALONE, -YOUNG_INTERVAL)
    return youth


def test_alone_an_owner_is_never_young() -> None:
    assert not Youth("me").is_young(TOKEN, 0.0)


def test_an_owner_is_young_until_each_member_has_closed() -> None:
    youth = owner()
    youth.member_joined("a", 0.0)
    youth.member_joined("b", 1.0)
    youth.member_closed("a", ALONE.epoch)
    assert youth.is_young(TOKEN, 2.0)
    youth.member_closed("b", ALONE.epoch)
    assert not youth.is_young(TOKEN, 2.0)


def test_the_silent_are_waited_for_no_longer_than_the_interval() -> None:
    youth = owner()
    youth.member_joined("a", 0.0)
    youth.member_joined("b", 5.0)
    assert youth.is_young(TOKEN, YOUNG_INTERVAL + 4.9)
    assert not youth.is_young(TOKEN, YOUNG_INTERVAL + 5.0)


def test_who_joins_again_is_waited_for_again() -> None:
    youth = owner()
    youth.member_joined("a", 0.0)
    youth.member_joined("a", 20.0)
    assert youth.is_young(TOKEN, YOUNG_INTERVAL + 10.0)


@pytest.mark.parametrize("had_it", [True, False])
def test_a_key_gained_by_a_change_of_the_ring_makes_young(had_it: bool) -> None:
    everybody = [f"node-{number}" for number in range(9)]
    before = ring(*everybody)
    owners = before.preference_list(TOKEN)
    me = owners[0] if had_it else next(name for name in everybody if name not in owners)
    youth = Youth(me)
    youth.ring_changed(before, ring(me), 0.0)
    assert youth.is_young(TOKEN, YOUNG_INTERVAL - 0.1) is not had_it
    assert not youth.is_young(TOKEN, YOUNG_INTERVAL)


def test_in_a_storm_of_changes_the_latest_count() -> None:
    youth = Youth("me")
    others = ring("other", "others", "and", "more")
    youth.ring_changed(others, ALONE, 0.0)
    for second in range(1, MAX_FORMER_RINGS):
        youth.ring_changed(ALONE, ALONE, float(second))
    assert youth.is_young(TOKEN, 10.0)
    youth.ring_changed(ALONE, ALONE, 10.0)
    assert not youth.is_young(TOKEN, 10.0)


def test_a_closing_by_another_ring_counts_once_that_ring_is_ours() -> None:
    youth = owner()
    joined = ring("me", "a")
    youth.member_joined("a", 0.0)
    youth.member_closed("a", joined.epoch)
    assert youth.is_young(TOKEN, 1.0)
    youth.ring_changed(ALONE, joined, 1.0)
    assert not youth.is_young(TOKEN, 1.0)


def test_the_gone_are_not_waited_for() -> None:
    youth = owner()
    youth.member_joined("a", 0.0)
    youth.member_gone("a")
    assert not youth.is_young(TOKEN, 1.0)
