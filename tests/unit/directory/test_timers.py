from __future__ import annotations

from spegel_gossip.directory.timers import Timers


def test_deadlines_come_due_earliest_first_and_once() -> None:
    timers = Timers()
    timers.set("b", 2.0)
    timers.set("a", 1.0)
    timers.set("c", 3.0)
    assert timers.next_at() == 1.0
    assert timers.due(2.0) == ["a", "b"]
    assert timers.due(2.0) == []
    assert timers.next_at() == 3.0


def test_setting_again_moves_a_deadline_and_clearing_forgets_it() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    timers.set("b", 2.0)
    timers.clear("b")
    assert timers.due(4.0) == []
    assert not timers.has("b")
    assert timers.due(5.0) == ["a"]
    assert timers.next_at() is None


def test_an_earlier_deadline_is_not_put_off() -> None:
    timers = Timers()
    timers.set_earlier("a", 3.0)
    timers.set_earlier("a", 5.0)
    assert timers.next_at() == 3.0
    timers.set_earlier("a", 1.0)
    assert timers.next_at() == 1.0
