from spegel_gossip.oci.digest import Digest
from spegel_gossip.transfer.cuts import FORGET_TIMEOUT, MAX_BYTELESS, MAX_REMEMBERED, Cuts

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")


def test_after_two_empty_answers_the_third_is_a_refusal_and_then_it_counts_anew() -> None:
    cuts = Cuts(lambda: 0.0)
    for _ in range(MAX_BYTELESS):
        assert not cuts.must_refuse(ONE)
        cuts.ended(ONE, delivered=0)

    assert not cuts.must_refuse(OTHER)
    assert cuts.must_refuse(ONE)
    assert not cuts.must_refuse(ONE)


def test_a_byte_in_between_makes_it_a_new_row() -> None:
    cuts = Cuts(lambda: 0.0)
    for delivered in (0, 1, 0):
        cuts.ended(ONE, delivered=delivered)

    assert not cuts.must_refuse(ONE)


def test_what_is_long_over_is_not_held_against_a_new_pull() -> None:
    now = [0.0]
    cuts = Cuts(lambda: now[0])
    for _ in range(MAX_BYTELESS):
        cuts.ended(ONE, delivered=0)
    now[0] = FORGET_TIMEOUT

    assert not cuts.must_refuse(ONE)


def test_what_is_remembered_is_bounded() -> None:
    cuts = Cuts(lambda: 0.0)
    for _ in range(MAX_BYTELESS):
        cuts.ended(ONE, delivered=0)
    for number in range(MAX_REMEMBERED):
        cuts.ended(Digest.of(str(number).encode()), delivered=0)

    assert not cuts.must_refuse(ONE)
