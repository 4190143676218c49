from __future__ import annotations

import pytest

from spegel_gossip.backoff import backoff


def test_it_doubles_up_to_the_longest() -> None:
    assert [backoff(failures, first=0.5, longest=15.0) for failures in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize("failures", [63, 1_023, 1_024, 10**9])
def test_it_bears_the_failures_of_years(failures: int) -> None:
    assert backoff(failures, first=1.0, longest=15.0) == 15.0
