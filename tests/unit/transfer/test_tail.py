import pytest

from spegel_gossip.content import PartialStatus
from spegel_gossip.transfer.tail import TailRequest, is_ahead, parse_tail_untrusted


def test_the_header_is_read_as_it_was_written() -> None:
    child = TailRequest(1 << 40, 7)
    assert parse_tail_untrusted(child.header()) == child


@pytest.mark.parametrize("value", [None, "", "1", "1 2 3", "-1 2", "1 x", "1\u0663 2", "9" * 30 + " 1"])
def test_a_header_that_says_nothing_is_none(value: str | None) -> None:
    assert parse_tail_untrusted(value) is None


def test_a_child_reads_from_one_that_has_more_or_stood_there_first() -> None:
    status = PartialStatus(100, 1_000)
    assert is_ahead(status, 9, TailRequest(99, 1))
    assert is_ahead(status, 1, TailRequest(100, 2))
    assert not is_ahead(status, 2, TailRequest(100, 1))
    assert not is_ahead(status, 1, TailRequest(101, 2))


def test_two_nodes_never_read_from_each_other() -> None:
    for first, second in [((5, 1), (5, 2)), ((5, 1), (6, 1)), ((5, 2), (5, 2))]:
        one = is_ahead(PartialStatus(first[0], 10), first[1], TailRequest(*second))
        other = is_ahead(PartialStatus(second[0], 10), second[1], TailRequest(*first))
        assert not (one and other)
