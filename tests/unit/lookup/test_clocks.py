import pytest

from spegel_gossip.lookup.clocks import MAX_CLOCKS, Clocks


@pytest.mark.parametrize(
    ("members", "ahead", "lead_ms"),
    [
        ("abc", {}, 0),
        ("abc", {"b": 600.0}, 0),
        ("abc", {"b": 600.0, "c": 600.0}, -600_000),
        ("abc", {"b": -180.0, "c": -180.0}, 180_000),
        ("abcde", {"b": 600.0, "c": -600.0, "d": 7.0}, 0),
        # Of two, the later: both say the same.
        ("ab", {"b": 180.0}, -180_000),
        ("ab", {"b": -180.0}, 0),
        # The dead have no say.
        ("ab", {"x": 500.0, "y": 500.0, "z": 500.0}, 0),
        ("a", {}, 0),
    ],
)
def test_the_clock_of_the_cluster_is_the_median(members: str, ahead: dict[str, float], lead_ms: int) -> None:
    clocks = Clocks()
    for name, seconds in ahead.items():
        clocks.differs(name, seconds)
    assert clocks.lead_ms(members) == lead_ms


def test_a_clock_that_is_right_again_counts_as_right() -> None:
    clocks = Clocks()
    clocks.differs("b", 600.0)
    clocks.differs("b", 0.2)
    assert clocks.lead_ms("ab") == 0


def test_the_table_of_clocks_is_bounded() -> None:
    clocks = Clocks()
    for number in range(MAX_CLOCKS + 1):
        clocks.differs(f"n{number}", 60.0)
    assert clocks.lead_ms(["me", "n1"]) == -60_000
    assert clocks.lead_ms(["me", "n0"]) == 0
