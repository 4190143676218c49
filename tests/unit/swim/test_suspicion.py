import pytest

from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.suspicion import (
    Suspicion,
    confirmations_wanted,
    shortest_suspicion,
    suspicion_timeout,
)


# memberlist's TestSuspicion_remainingSuspicionTime: minimum 2 s, maximum 30 s.
@pytest.mark.parametrize(
    ("confirmations", "wanted", "elapsed", "left"),
    [(0, 3, 0, 30), (1, 3, 2, 14), (2, 3, 3, 4.81), (3, 3, 4, -2), (4, 3, 5, -3), (5, 3, 10, -8)],
)
def test_the_time_left_is_that_of_memberlist(
    confirmations: int, wanted: int, elapsed: float, left: float
) -> None:
    timeout = suspicion_timeout(confirmations=confirmations, wanted=wanted, minimum=2, maximum=30)
    assert timeout - elapsed == pytest.approx(left, abs=0.01)


# memberlist's TestSuspicion_Timer: K = 3, minimum 0.5 s, maximum 2 s.
@pytest.mark.parametrize(("confirmations", "length"), [(0, 2.0), (1, 1.25), (2, 0.81), (3, 0.5)])
def test_each_confirmation_shortens_a_suspicion(confirmations: int, length: float) -> None:
    timeout = suspicion_timeout(confirmations=confirmations, wanted=3, minimum=0.5, maximum=2.0)
    assert timeout == pytest.approx(length, abs=0.01)


# memberlist's TestSuspicionTimeout, by its multiplier 3.
@pytest.mark.parametrize(
    ("n", "seconds"), [(5, 1.0), (10, 1.0), (50, 1.698), (100, 2.0), (500, 2.698), (1000, 3.0)]
)
def test_the_shortest_suspicion_grows_with_the_logarithm_of_n(n: int, seconds: float) -> None:
    config = SwimConfig(suspicion_alpha=3)
    assert shortest_suspicion(config, n) / 3 == pytest.approx(seconds, abs=0.001)


# memberlist's TestMemberList_ProbeNode_Suspect_Dogpile, with our K of 3: interval 100 ms,
# alpha 5, beta 2, so 0.5 to 1 s.
@pytest.mark.parametrize(
    ("n", "confirmations", "length"),
    [
        (2, 0, 0.5),
        (3, 0, 0.5),
        (4, 0, 0.5),
        (5, 0, 1.0),
        (6, 0, 1.0),
        (6, 1, 0.75),
        (6, 2, 0.604),
        (6, 3, 0.5),
        (6, 4, 0.5),
    ],
)
def test_a_suspicion_in_a_small_cluster_lasts_its_minimum(n: int, confirmations: int, length: float) -> None:
    config = SwimConfig(probe_interval=0.1, probe_timeout=0.05, suspicion_alpha=5, suspicion_beta=2)
    suspicion = Suspicion(accuser="me", n=n, config=config, now=10.0)
    for number in range(confirmations):
        suspicion.confirm(f"accuser{number}")
    assert suspicion.ends_at - 10.0 == pytest.approx(length, abs=0.001)


@pytest.mark.parametrize(("n", "wanted"), [(1, 0), (3, 0), (4, 0), (5, 3), (8, 3), (1000, 3)])
def test_confirmations_are_wanted_only_where_enough_could_confirm(n: int, wanted: int) -> None:
    assert confirmations_wanted(SwimConfig(), n) == wanted


def test_only_the_first_new_accusers_count() -> None:
    suspicion = Suspicion(accuser="a", n=10, config=SwimConfig(), now=0.0)
    assert not suspicion.confirm("a")
    assert [suspicion.confirm(name) for name in "bbcde"] == [True, False, True, True, False]
    assert suspicion.accusers == ("a", "b", "c", "d")
    assert suspicion.ends_at == pytest.approx(4.0)


def test_a_postponed_suspicion_keeps_its_length() -> None:
    suspicion = Suspicion(accuser="a", n=3, config=SwimConfig(), now=0.0)
    suspicion.postpone(100.0)
    assert suspicion.ends_at == pytest.approx(104.0)
