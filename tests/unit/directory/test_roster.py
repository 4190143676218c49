from __future__ import annotations

from spegel_gossip.directory.roster import Roster
from spegel_gossip.swim.names import name_hash


def test_a_member_is_news_once_and_a_new_life_is_news_again() -> None:
    roster = Roster("me", 7, "a")
    assert roster.put("peer", 1, "b") == (True, True)
    assert roster.put("peer", 1, "b") == (False, False)
    assert roster.put("peer", 2, "b") == (True, True)
    assert roster.take_renewed() == {"peer": None}
    assert roster.take_renewed() == {}


def test_a_member_in_another_zone_changes_the_ring_only() -> None:
    roster = Roster("me", 7, "a")
    roster.put("peer", 1, "b")
    assert roster.put("peer", 1, "c") == (False, True)
    assert roster.zones == {"me": "a", "peer": "c"}


def test_who_was_gone_and_is_back_before_the_ring_changed_is_told_everything() -> None:
    roster = Roster("me", 7, "a")
    roster.put("peer", 1, "b")
    roster.take_renewed()
    assert roster.remove("peer")
    assert not roster.has_renewed()
    assert roster.name_of(name_hash("peer")) is None
    roster.put("peer", 1, "b")
    assert roster.has_renewed()


def test_this_node_is_never_removed() -> None:
    roster = Roster("me", 7, "a")
    assert not roster.remove("me")
    roster.raise_boot(9)
    assert (roster.own_boot, roster.boot_of("me"), roster.boot_of("nobody")) == (9, 9, None)
