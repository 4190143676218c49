import pytest

from spegel_gossip.transfer.hedging import MAX_ALLOWANCE, MIN_DELAY, MIN_SAMPLES, Hedges


def after(requests: int, *, seconds: float = 0.2) -> Hedges:
    hedges = Hedges()
    for _ in range(requests):
        hedges.asked()
        hedges.answered(seconds)
    return hedges


def test_nothing_is_hedged_before_it_is_known_what_is_usual() -> None:
    assert after(MIN_SAMPLES - 1).delay is None


def test_a_hedge_waits_for_longer_than_most_answers_took() -> None:
    hedges = Hedges()
    for number in range(100):
        hedges.asked()
        hedges.answered(number / 100)

    assert hedges.delay == pytest.approx(0.94)


def test_fast_holders_are_not_doubted_for_a_few_milliseconds() -> None:
    assert after(100, seconds=0.001).delay == MIN_DELAY


@pytest.mark.parametrize("requests", [20, 100, 1000])
def test_at_most_one_request_in_twenty_is_hedged(requests: int) -> None:
    hedges = Hedges()
    spent = 0
    for _ in range(requests):
        hedges.asked()
        hedges.answered(1.0)
        if hedges.delay is not None:
            hedges.spend()
            spent += 1

    assert requests // 20 - 1 <= spent <= requests // 20


def test_a_quiet_day_saves_up_a_bounded_number() -> None:
    hedges = after(100_000)
    spent = 0
    while hedges.delay is not None:
        hedges.spend()
        spent += 1

    assert spent == MAX_ALLOWANCE
