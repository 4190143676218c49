import pytest

from spegel_gossip.swarm.patience import Drip
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.pace import MIN_SAMPLE_BYTES, MIN_SAMPLES, Pace, Rates, Verdict

CONFIG = TransferConfig(slow_timeout=10, slow_fraction=0.125, min_rate=1000, stall_timeout=2)
USUAL = 65_536.0


def rates(*bytes_a_second: float) -> Rates:
    known = Rates()
    for rate in bytes_a_second:
        known.add(moved_bytes=MIN_SAMPLE_BYTES, seconds=MIN_SAMPLE_BYTES / rate)
    return known


def usual() -> Rates:
    return rates(*[USUAL] * MIN_SAMPLES)


def test_the_usual_rate_is_the_median_once_there_are_enough() -> None:
    assert rates(*[50.0] * (MIN_SAMPLES - 1)).usual == 0
    assert rates(10, 1e9, 200).usual == pytest.approx(200)


def test_a_small_blob_says_nothing_of_rates() -> None:
    known = rates(10, 20, 30)
    known.add(moved_bytes=MIN_SAMPLE_BYTES - 1, seconds=1e-9)
    known.add(moved_bytes=MIN_SAMPLE_BYTES, seconds=0)

    assert known.usual == pytest.approx(20)


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (USUAL, Verdict.FINE),
        (8192, Verdict.FINE),  # an eighth
        (8191, Verdict.SLOW),
        (1000, Verdict.SLOW),
        (999, Verdict.DRIPPING),
        (0, Verdict.DRIPPING),
    ],
)
def test_a_pace_is_judged_against_what_is_usual_and_what_is_nothing(rate: int, verdict: Verdict) -> None:
    pace = Pace(CONFIG, rates=usual(), is_replaceable=False)

    assert [pace.judge(waited=2.5, moved=rate * 5 // 2) for _ in range(3)] == [Verdict.FINE] * 3
    assert pace.judge(waited=2.5, moved=10 * rate - 3 * (rate * 5 // 2)) is verdict


def test_a_source_that_got_better_is_judged_by_what_it_did_since() -> None:
    pace = Pace(CONFIG, rates=usual())

    assert pace.judge(waited=10, moved=20_000) is Verdict.SLOW
    assert pace.judge(waited=10, moved=800_000) is Verdict.FINE


def test_where_nothing_is_usual_only_a_drip_is_too_slow() -> None:
    pace = Pace(CONFIG)

    assert pace.judge(waited=10, moved=10_000) is Verdict.FINE
    assert pace.judge(waited=10, moved=9_999) is Verdict.DRIPPING


def test_a_source_that_was_the_first_is_judged_by_what_became_known_of_others_since() -> None:
    known = rates()
    pace = Pace(CONFIG, rates=known)
    assert pace.judge(waited=10, moved=20_000) is Verdict.FINE
    for _ in range(MIN_SAMPLES):
        known.add(moved_bytes=MIN_SAMPLE_BYTES, seconds=MIN_SAMPLE_BYTES / USUAL)
    assert pace.judge(waited=10, moved=20_000) is Verdict.SLOW


def test_another_source_is_looked_for_as_soon_as_one_drips_for_as_long_as_one_may_be_silent() -> None:
    pace = Pace(CONFIG, rates=usual())

    assert pace.judge(waited=1, moved=100_000) is Verdict.FINE
    assert pace.judge(waited=1.5, moved=0) is Verdict.FINE
    assert pace.judge(waited=0, moved=300) is Verdict.FINE
    assert pace.judge(waited=1.5, moved=0) is Verdict.SLOW


def test_what_drips_in_between_drips_no_longer() -> None:
    pace = Pace(CONFIG, rates=usual())

    verdicts = [pace.judge(waited=1.5, moved=moved) for moved in (0, 100_000, 0, 100_000)]

    assert verdicts == [Verdict.FINE] * 4


def test_the_only_source_is_kept_until_it_has_dripped_for_long() -> None:
    pace = Pace(CONFIG, rates=usual())
    assert pace.judge(waited=3, moved=100) is Verdict.SLOW

    pace.keep()

    verdicts = [pace.judge(waited=2, moved=100) for _ in range(4)]
    assert verdicts == [Verdict.FINE] * 3 + [Verdict.DRIPPING]


def test_without_a_lowest_rate_nothing_drips() -> None:
    pace = Pace(TransferConfig(min_rate=0, slow_timeout=10, stall_timeout=2))

    assert [pace.judge(waited=3, moved=0) for _ in range(4)] == [Verdict.FINE] * 4


def test_a_growing_source_that_drips_where_bytes_came_before_is_asked_about_again() -> None:
    pace = Pace(CONFIG, is_replaceable=False, drip=Drip(), patience=2.75)

    assert [pace.judge(waited=1, moved=25_000_000) for _ in range(2)] == [Verdict.FINE] * 2
    verdicts = [pace.judge(waited=1, moved=50_000) for _ in range(4)]

    assert verdicts == [Verdict.FINE] * 3 + [Verdict.FALLEN_BEHIND]


def test_a_growing_source_from_which_little_ever_came_is_asked_about_too() -> None:
    pace = Pace(CONFIG, is_replaceable=False, drip=Drip(), patience=2.75)

    assert [pace.judge(waited=4, moved=100_000) for _ in range(3)] == [Verdict.FINE] * 2 + [Verdict.LAGGING]


def test_a_source_that_has_it_all_is_not_judged_by_what_growing_ones_did() -> None:
    pace = Pace(CONFIG)

    assert pace.judge(waited=1, moved=25_000_000) is Verdict.FINE
    assert [pace.judge(waited=1, moved=50_000) for _ in range(5)] == [Verdict.FINE] * 5
