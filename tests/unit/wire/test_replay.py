from __future__ import annotations

import random

from spegel_gossip.wire.replay import MAX_SENDERS, WINDOW, ReplayGuard, ReplayWindow


def test_each_counter_counts_once_whatever_the_order() -> None:
    counters = list(range(WINDOW))
    random.Random(1).shuffle(counters)
    window = ReplayWindow()

    assert all(window.accept(counter) for counter in counters)
    assert not any(window.accept(counter) for counter in counters)


def test_a_counter_behind_the_window_is_refused() -> None:
    window = ReplayWindow()
    window.accept(WINDOW)

    assert window.accept(1)
    assert not window.accept(0)


def test_a_jump_over_the_whole_window_forgets_nothing_that_counts() -> None:
    window = ReplayWindow()
    window.accept(5)
    window.accept(5 + 10 * WINDOW)

    assert not window.accept(5)
    assert not window.accept(5 + 10 * WINDOW)
    assert window.accept(4 + 10 * WINDOW)


def test_the_last_two_boots_are_heard_in_any_order() -> None:
    guard = ReplayGuard()

    assert guard.accept("a", 10, 1)
    assert guard.accept("a", 20, 1)
    assert guard.accept("a", 10, 2)
    assert not guard.accept("a", 10, 1)
    assert not guard.accept("a", 20, 1)


def test_a_boot_older_than_the_last_two_is_a_replay() -> None:
    guard = ReplayGuard()
    for boot in (10, 20, 30):
        assert guard.accept("a", boot, 1)

    assert not guard.accept("a", 10, 99)
    assert guard.accept("a", 20, 2)


def test_senders_do_not_share_windows() -> None:
    guard = ReplayGuard()

    assert guard.accept("a", 1, 1)
    assert guard.accept("b", 1, 1)


def test_a_sender_who_speaks_is_kept_when_the_table_is_full() -> None:
    guard = ReplayGuard()
    guard.accept("a", 1, 1)
    for number in range(MAX_SENDERS - 1):
        guard.accept(f"n{number}", 1, 1)
    guard.accept("a", 1, 2)
    guard.accept("another", 1, 1)

    assert not guard.accept("a", 1, 2)  # still known
    assert guard.accept("n0", 1, 1)  # was forgotten
