from spegel_gossip.directory.former import FORMER_INTERVAL, MAX_FORMER_RINGS, FormerRings
from spegel_gossip.directory.keys import pack_key, token_of
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEY = pack_key(Digest.of(b"key"))


def ring(*names: str) -> Ring:
    return Ring.of(dict.fromkeys(names, "z"))


def test_the_oldest_ring_of_the_last_minute_says_who_decided() -> None:
    former = FormerRings()
    assert former.owners(KEY, 0.0) == ()
    former.replaced(ring("a"), 0.0)
    former.replaced(ring("a", "b", "c"), 30.0)
    assert former.owners(KEY, 59.0) == ("a",)
    assert former.owners(KEY, FORMER_INTERVAL) == ring("a", "b", "c").preference_list(token_of(KEY))
    assert former.owners(KEY, FORMER_INTERVAL + 30.0) == ()


def test_of_many_changes_the_first_is_remembered() -> None:
    former = FormerRings()
    for number in range(3 * MAX_FORMER_RINGS):
        former.replaced(ring(f"n{number}"), float(number))
    assert former.owners(KEY, 50.0) == ("n0",)
