from spegel_gossip.directory.former import FORMER_INTERVAL, MAX_FORMER_RINGS, FormerRings
from spegel_gossip.directory.keys import pack_key, token_of
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEY = pack_key(Digest.of(b"key"))


def ring(*names: str) -> Ring:
    return Ring.of(dict.fromkeys(names, "z"))


def test_the_ring_of_a_minute_ago_says_who_decided() -> None:
    former = FormerRings()
    assert former.owners(KEY, 0.0) == ()
    former.replaced(Ring(), 0.0)
    former.replaced(ring("a"), 100.0)
    former.replaced(ring("a", "b", "c"), 130.0)
    assert former.owners(KEY, 159.0) == ("a",)
    assert former.owners(KEY, 100.0 + FORMER_INTERVAL) == ring("a", "b", "c").preference_list(token_of(KEY))
    assert former.owners(KEY, 130.0 + FORMER_INTERVAL) == ()


def test_who_came_less_than_a_minute_ago_knows_no_former_ring() -> None:
    former = FormerRings()
    former.replaced(Ring(), 100.0)
    former.replaced(ring("me"), 100.5)
    former.replaced(ring("me", "a"), 101.5)
    for later in (0.0, 10.0, 58.0):
        assert former.owners(KEY, 102.0 + later) == ()


def test_of_many_changes_the_ring_before_them_is_remembered() -> None:
    former = FormerRings()
    for number in range(3 * MAX_FORMER_RINGS):
        former.replaced(ring(f"n{number}"), 100.0 + 5.0 * number)
    assert former.owners(KEY, 155.0) == ("n0",)
