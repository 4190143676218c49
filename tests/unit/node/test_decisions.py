from __future__ import annotations

import pytest

from spegel_gossip.lookup.snapshots import ArrivalView, HolderView, KeyView, OwnerView, SpreadingView
from spegel_gossip.node.decisions import KnownTag, Standpoint, decide_blob, decide_tag
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.tag_policy import CLUSTER, NEVER, TagPolicy

KEY = Digest.of(b"a blob")
NAMED = str(Digest.of(b"a manifest"))
HERE = Standpoint(name="here", zone="a")
MIB = 1 << 20
POLICIES = {"never": NEVER, "cluster": CLUSTER, "fresh:5s": TagPolicy(5.0), "fresh:15s": TagPolicy(15.0)}


def owner(name: str, *, has_answered: bool = True, is_young: bool = False) -> OwnerView:
    return OwnerView(name, has_answered, is_young, has_same_view=True, holders=(), partials=())


def view(
    *holders: HolderView,
    owners: tuple[OwnerView, ...] = (owner("o1"), owner("o2")),
    spreading: SpreadingView | None = None,
    purged_at: float = 0.0,
) -> KeyView:
    return KeyView(KEY, owners, holders, size=9, spreading=spreading or SpreadingView(), purged_at=purged_at)


def arriving(name: str, offset: int, *, lease_age: float | None = None) -> ArrivalView:
    return ArrivalView(name, "a", offset, 9 * MIB, lease_age, "")


def spreading(*arrivals: ArrivalView, refused_for: float = 0.0) -> SpreadingView:
    return SpreadingView(arrivals, receivers=len(arrivals), refused_for=refused_for)


def test_what_is_held_here_is_served_from_here() -> None:
    here = Standpoint(name="here", holds=True, would_ask=("b",))
    assert decide_blob(view(HolderView("b", "", is_complete=True)), here)["source"] == "local"


def test_holders_are_named_in_the_order_in_which_they_would_be_tried() -> None:
    here = Standpoint(name="here", zone="a", would_ask=("c", "b"))
    held = [
        HolderView(name, zone, is_complete=True) for name, zone in (("b", "x"), ("c", "a"), ("here", "a"))
    ]
    decision = decide_blob(view(*held), here)
    assert (decision["source"], decision["members"]) == ("peer", ["c", "b"])
    assert decision["why"] == "2 holders, the first of this zone"


def test_what_is_fetched_elsewhere_is_read_as_it_grows() -> None:
    seen = view(spreading=spreading(arriving("f", 3 * MIB, lease_age=1.0), arriving("g", MIB)))
    decision = decide_blob(seen, HERE)
    assert (decision["source"], decision["members"]) == ("peer", ["f", "g"])
    assert "f fetches it from the registry" in decision["why"]


def test_a_lease_without_a_byte_is_waited_for() -> None:
    decision = decide_blob(view(spreading=spreading(arriving("f", 0, lease_age=1.0))), HERE)
    assert (decision["source"], decision["members"]) == ("wait", [])


def test_who_merely_waits_too_is_no_source() -> None:
    assert decide_blob(view(spreading=spreading(arriving("w", 0))), HERE)["source"] == "upstream"


def test_with_the_lease_here_the_registry_is_asked() -> None:
    decision = decide_blob(view(spreading=spreading(arriving("here", MIB, lease_age=1.0))), HERE)
    assert decision["source"] == "upstream"
    assert "this node has the lease" in decision["why"]


def test_what_is_being_read_here_already_says_from_whom() -> None:
    own = ArrivalView("here", "a", MIB, 9 * MIB, None, "g")
    decision = decide_blob(view(spreading=spreading(arriving("f", 3 * MIB, lease_age=1.0), own)), HERE)
    assert (decision["source"], decision["members"]) == ("peer", ["g"])
    assert decision["why"] == "this node reads it from g now"


def test_without_the_swarm_nobody_waits_for_a_growing_copy() -> None:
    here = Standpoint(name="here", has_swarm=False)
    decision = decide_blob(view(spreading=spreading(arriving("f", MIB, lease_age=1.0))), here)
    assert decision["source"] == "upstream"
    assert "--no-swarm" in decision["why"]


def test_where_nobody_has_it_the_owner_that_would_lease_the_fetch_is_named() -> None:
    owners = (owner("o1", is_young=True), owner("o2"))
    assert decide_blob(view(owners=owners), HERE) == {
        "source": "upstream",
        "members": [],
        "why": "no member holds it: o2 would lease this node the fetch for all",
    }


@pytest.mark.parametrize(
    ("seen", "here", "why"),
    [
        (view(owners=(owner("o1", has_answered=False),)), HERE, "no owner could be asked"),
        (view(HolderView("b", "", is_complete=True)), HERE, "all 1 holders are skipped"),
        (view(spreading=spreading(refused_for=12.0)), HERE, "for 12 s yet each node fetches for itself"),
        (view(), Standpoint(name="here", has_swarm=False), "no member holds it"),
    ],
)
def test_what_is_left_to_the_registry_says_why(seen: KeyView, here: Standpoint, why: str) -> None:
    decision = decide_blob(seen, here)
    assert decision["source"] == "upstream"
    assert why in decision["why"]


@pytest.mark.parametrize(
    ("known", "policy", "seen", "source", "why"),
    [
        (KnownTag(NAMED, 90.0), "never", view(), "upstream", "its policy is never"),
        (KnownTag("", 0.0), "cluster", view(), "upstream", "no member has a whole image of it"),
        (KnownTag("", 0.0), "cluster", view(purged_at=5.0), "upstream", "it was purged"),
        (KnownTag("", 0.0), "cluster", view(owners=()), "upstream", "no owner could be asked"),
        (KnownTag(NAMED, 90.0), "fresh:5s", view(), "upstream", "last seen upstream 10 s ago: too old"),
        (KnownTag(NAMED, 90.0), "fresh:15s", view(), "peer", "last seen upstream 10 s ago: good for"),
        (KnownTag(NAMED, 0.0), "cluster", view(), "peer", "of unknown age: good for cluster"),
    ],
)
def test_a_tag_is_decided_by_its_policy_and_what_is_known(
    known: KnownTag, policy: str, seen: KeyView, source: str, why: str
) -> None:
    decision = decide_tag(known, POLICIES[policy], seen, HERE, now=100.0)
    assert decision["source"] == source
    assert why in decision["why"]
