import pytest

from spegel_gossip.swim.buckets import bucket_count, bucket_hashes, bucket_of, hash_of_claim
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.names import name_hash
from spegel_gossip.testing.swim_values import make_claim

CLAIMS = [make_claim(f"m{number}") for number in range(40)]


def hashed(claims: list[Claim]) -> tuple[int, ...]:
    return bucket_hashes([(name_hash(claim.name), hash_of_claim(claim)) for claim in claims], 16)


@pytest.mark.parametrize(
    ("members", "count"), [(0, 16), (1, 16), (128, 16), (129, 16), (200, 32), (5000, 1024), (99_999, 1024)]
)
def test_a_table_is_cut_into_a_bounded_power_of_two(members: int, count: int) -> None:
    assert bucket_count(members) == count


def test_hashes_do_not_depend_on_the_order() -> None:
    assert hashed(CLAIMS) == hashed(CLAIMS[::-1])


@pytest.mark.parametrize("changed", [make_claim("m7", MemberState.SUSPECT), make_claim("m7", incarnation=5)])
def test_a_change_shows_in_its_own_bucket_only(changed: Claim) -> None:
    claims = [changed if claim.name == "m7" else claim for claim in CLAIMS]
    before, after = hashed(CLAIMS), hashed(claims)
    assert [at for at in range(16) if before[at] != after[at]] == [bucket_of("m7", 16)]
