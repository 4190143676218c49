from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim, supersedes
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.testing.swim_values import make_record
from spegel_gossip.testing.swim_views import make_view

# Few values, so that equal incarnations and equal records are common.
records = st.builds(
    MemberRecord,
    name=st.just("a"),
    boot=st.integers(1, 2),
    addresses=st.sampled_from([(Address("10.0.0.1", 1),), (Address("10.0.0.2", 1),)]),
    zone=st.sampled_from(["", "z"]),
)
claims = st.builds(Claim, records, st.integers(1, 4), st.sampled_from(MemberState))


@given(claims, claims, claims)
def test_supersedes_is_a_strict_total_order(a: Claim, b: Claim, c: Claim) -> None:
    assert not supersedes(a, a)
    assert (a == b) or (supersedes(a, b) != supersedes(b, a))
    if supersedes(a, b) and supersedes(b, c):
        assert supersedes(a, c)


@given(st.lists(claims, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_and_number_of_gossiped_claims_do_not_matter(heard: list[Claim], rng: object) -> None:
    once, often = make_view(make_record("me9")), make_view(make_record("me9"))
    shuffled = [*heard, *heard[::2]]
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its randoms as object
    for claim in heard:
        once.hear(claim, 1.0)
    for claim in shuffled:
        often.hear(claim, 1.0)
    assert [entry.member for entry in once.table] == [entry.member for entry in often.table]


@given(st.lists(claims, min_size=1, max_size=12))
@settings(deadline=None)
def test_the_table_holds_the_greatest_claim_it_heard(heard: list[Claim]) -> None:
    view = make_view(make_record("me9"), SwimConfig())
    for claim in heard:
        view.hear(claim, 1.0)
    entry = view.table["a"]
    held = replace(entry.claim(1.0), accuser="", age=0.0)
    assert held in heard
    assert not any(supersedes(claim, held) for claim in heard)
