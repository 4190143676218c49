from __future__ import annotations

import pytest

from spegel_gossip.ring.points import epoch_of, points_of, virtual_nodes
from spegel_gossip.ring.ring import MAX_MEMBERS, Ring


def test_points_are_what_every_release_must_compute() -> None:
    # On the wire in effect: members of two releases must agree on the owners.
    assert points_of("node-1", 8)[:2] == [0x8CEC2AB134AEC2C5, 0xB58CA8C19ACA08D0]
    assert epoch_of({"a": "z1", "b": ""}) == 0xF524571CECFBEBC7


def test_fewer_points_are_the_first_of_more() -> None:
    assert points_of("a", 128)[:64] == points_of("a", 64)


def test_an_epoch_tells_names_from_zones() -> None:
    assert epoch_of({"a": "bc"}) != epoch_of({"ab": "c"})
    assert epoch_of({"a": "", "b": ""}) == epoch_of({"b": "", "a": ""})


def test_an_empty_ring_owns_nothing() -> None:
    ring = Ring()
    assert ring.preference_list(5) == ()
    assert ring.shares() == {}


def test_alone_a_member_owns_all() -> None:
    ring = Ring.of({"a": ""})
    assert ring.preference_list(0) == ("a",)
    assert ring.shares() == {"a": 1.0}


def test_a_token_belongs_to_the_first_point_not_before_it() -> None:
    ring = Ring.of({"a": "", "b": ""})
    point = points_of("a", 8)[0]
    assert ring.preference_list(point)[0] == "a"


def test_adding_twice_changes_the_zone_only() -> None:
    ring = Ring.of({"a": "", "b": ""})
    shares = ring.shares()
    ring.add("a", "z")
    assert dict(ring.zones) == {"a": "z", "b": ""}
    assert ring.shares() == shares
    assert ring.epoch == epoch_of({"a": "z", "b": ""})


def test_removing_a_stranger_changes_nothing() -> None:
    ring = Ring.of({"a": ""})
    ring.remove("b")
    assert ring.epoch == epoch_of({"a": ""})


def test_a_copy_is_not_reached_by_later_changes() -> None:
    ring = Ring.of({"a": "", "b": ""})
    copy = ring.copy()
    ring.remove("a")
    ring.add("c", "")
    assert sorted(copy.shares()) == ["a", "b"]
    assert copy.preference_list(1) == Ring.of({"a": "", "b": ""}).preference_list(1)


def test_more_members_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        Ring.of({str(number): "" for number in range(MAX_MEMBERS + 1)})


def test_virtual_nodes_halve_above_two_thousand() -> None:
    assert [virtual_nodes(count) for count in (1, 2000, 2001)] == [128, 128, 64]
