import random

import pytest

from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.errors import TransientError
from spegel_gossip.client.patience import Patience

CONFIG = ClientConfig(attempts=5, attempts_to_connect=2, max_resumes=20, first_delay=0.5, max_delay=2.0)
CUT = TransientError("cut")


@pytest.mark.parametrize("seed", range(20))
def test_delays_double_up_to_a_bound_and_end(seed: int) -> None:
    patience = Patience(CONFIG, random.Random(seed))

    delays = [patience.delay_after(CUT) for _ in range(5)]

    assert delays[-1] is None
    for delay, longest in zip(delays, (0.5, 1.0, 2.0, 2.0), strict=False):
        assert delay is not None
        assert longest / 2 <= delay <= longest


def test_progress_begins_the_count_anew_but_not_for_ever() -> None:
    patience = Patience(CONFIG, random.Random(0))

    delays = [patience.delay_after(CUT, has_progressed=True) for _ in range(20)]

    assert all(delay is not None and delay <= 0.5 for delay in delays[:-1])
    assert delays[-1] is None


def test_a_registry_that_nothing_listens_for_is_given_up_sooner() -> None:
    patience = Patience(CONFIG, random.Random(0))
    refused = TransientError("refused", is_unreachable=True)

    assert patience.delay_after(refused) is not None
    assert patience.delay_after(refused) is None


@pytest.mark.parametrize(
    ("asked", "waited"), [(0.0, 0.0), (7.0, 7.0), (60.0, 60.0), (61.0, None), (1e9, None)]
)
def test_what_the_registry_asks_for_is_waited_within_reason(asked: float, waited: float | None) -> None:
    patience = Patience(CONFIG, random.Random(0))

    assert patience.delay_after(TransientError("429", retry_after=asked)) == waited


def test_same_seed_gives_the_same_delays() -> None:
    def delays(seed: int) -> list[float | None]:
        patience = Patience(CONFIG, random.Random(seed))
        return [patience.delay_after(CUT) for _ in range(4)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
