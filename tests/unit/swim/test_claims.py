from dataclasses import replace

import pytest

from spegel_gossip.swim.claims import supersedes
from spegel_gossip.swim.member import MemberState
from spegel_gossip.testing.swim_values import make_claim, make_record

STATES = list(MemberState)


@pytest.mark.parametrize("old", STATES)
@pytest.mark.parametrize("new", STATES)
def test_a_higher_incarnation_beats_any_state(new: MemberState, old: MemberState) -> None:
    assert supersedes(make_claim("a", new, incarnation=2), make_claim("a", old, incarnation=1))
    assert not supersedes(make_claim("a", new, incarnation=1), make_claim("a", old, incarnation=2))


@pytest.mark.parametrize("old", STATES)
@pytest.mark.parametrize("new", STATES)
def test_at_one_incarnation_the_more_severe_state_wins(new: MemberState, old: MemberState) -> None:
    assert supersedes(make_claim("a", new), make_claim("a", old)) == (new > old)


def test_of_two_lives_with_one_incarnation_the_later_boot_wins() -> None:
    old, new = make_record("a", boot=1), make_record("a", boot=2)
    assert supersedes(make_claim("a", record=new), make_claim("a", record=old))
    assert not supersedes(make_claim("a", record=old), make_claim("a", record=new))


def test_who_says_it_and_how_long_ago_does_not_matter() -> None:
    claim = make_claim("a", MemberState.DEAD, accuser="b", age=5.0)
    assert not supersedes(replace(claim, accuser="c", age=0.0), claim)
