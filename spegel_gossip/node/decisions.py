"""What a pull on a node would do with a tag or a blob now, and why: the mirror's rules, in words.

Values in, a value out: whoever asks has gathered what the owners say and how the node stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.admin.explained import DecisionShape
from spegel_gossip.lookup.snapshots import ArrivalView, KeyView
from spegel_gossip.oci.tag_policy import TagPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """The node whose pull is explained."""

    name: str
    zone: str = ""
    has_swarm: bool = True
    holds: bool = False
    """Whether its own store has the blob, or the manifest that the tag names."""
    would_ask: tuple[str, ...] = ()
    """The holders it would try now, in this order; those it skips are left out."""


@dataclass(frozen=True, slots=True)
class KnownTag:
    """What a tag was last seen to name."""

    digest: str
    """Empty if nobody knows."""
    observed_at: float
    """Unix seconds; 0 if nobody knows when."""


def left_to_upstream(why: str) -> DecisionShape:
    """Return that a pull goes to the registry."""
    return {"source": "upstream", "members": [], "why": why}


def decide_tag(
    known: KnownTag, policy: TagPolicy, view: KeyView, here: Standpoint, now: float
) -> DecisionShape:
    """Return what a pull by tag comes to; `now` in unix seconds."""
    if policy.is_never:
        return left_to_upstream("its policy is never")
    if not known.digest:
        return left_to_upstream(_why_unknown(view))
    seen_at = known.observed_at
    age = f"last seen upstream {max(0.0, now - seen_at):.0f} s ago" if seen_at else "of unknown age"
    if not policy.accepts(seen_at, now):
        return left_to_upstream(f"what is known is {age}: too old for {policy}")
    return {"source": "local" if here.holds else "peer", "members": [], "why": f"{age}: good for {policy}"}


def decide_blob(view: KeyView, here: Standpoint) -> DecisionShape:
    """Return from where a pull reads a blob."""
    if here.holds:
        return {"source": "local", "members": [], "why": "held here"}
    own = next((one for one in view.spreading.arrivals if one.name == here.name), None)
    if own is not None and own.reads_from:
        why = f"this node reads it from {own.reads_from} now"
        return {"source": "peer", "members": [own.reads_from], "why": why}
    if own is not None and own.lease_age is not None:
        return left_to_upstream("this node has the lease and fetches it for all")
    if here.would_ask:
        return _from_holders(view, here)
    if not any(owner.has_answered for owner in view.owners):
        return left_to_upstream("no owner could be asked")
    arriving = _from_arrivals(view, here)
    if arriving is not None:
        return arriving
    skipped = _other_holders(view, here)
    if skipped:
        return left_to_upstream(f"all {skipped} holders are skipped for some seconds: connections failed")
    return left_to_upstream(_why_nobody(view, here))


def _from_holders(view: KeyView, here: Standpoint) -> DecisionShape:
    zones = {one.name: one.zone for one in view.holders}
    where = "of this zone" if zones.get(here.would_ask[0], "") == here.zone else "of another zone"
    why = f"{_counted(_other_holders(view, here), 'holder')}, the first {where}"
    if view.spreading.receivers and here.has_swarm:
        why += (
            f"; of a large blob {_counted(view.spreading.receivers, 'receiving node')} may serve it instead"
        )
    return {"source": "peer", "members": list(here.would_ask), "why": why}


def _from_arrivals(view: KeyView, here: Standpoint) -> DecisionShape | None:
    """Return what a copy that arrives elsewhere makes of a pull; None where none does."""
    others = [one for one in view.spreading.arrivals if one.name != here.name]
    growing = [one.name for one in others if one.offset]
    leased = [one for one in others if one.lease_age is not None]
    if not growing and not leased:
        return None
    if not here.has_swarm:
        return left_to_upstream("it is still arriving elsewhere, and with --no-swarm nobody waits for that")
    why = _why_arriving(leased, view.spreading.receivers)
    if growing:
        return {"source": "peer", "members": growing, "why": f"{why}: a copy is read as it grows"}
    return {"source": "wait", "members": [], "why": f"{why}: a pull waits for its first bytes"}


def _why_arriving(leased: list[ArrivalView], receivers: int) -> str:
    if leased:
        return f"{leased[0].name} fetches it from the registry"
    return f"it arrives at {_counted(receivers, 'node')}"


def _why_unknown(view: KeyView) -> str:
    if not any(owner.has_answered for owner in view.owners):
        return "no owner could be asked"
    if view.purged_at:
        return "it was purged, and nobody has pulled it since"
    return "no member has a whole image of it"


def _why_nobody(view: KeyView, here: Standpoint) -> str:
    if view.spreading.refused_for and here.has_swarm:
        seconds = f"{view.spreading.refused_for:.0f} s"
        return f"three fetches of it failed in a row: for {seconds} yet each node fetches for itself"
    if not here.has_swarm:
        return "no member holds it"
    answered = [owner for owner in view.owners if owner.has_answered]
    owner = next((one.name for one in answered if not one.is_young), answered[0].name)
    return f"no member holds it: {owner} would lease this node the fetch for all"


def _other_holders(view: KeyView, here: Standpoint) -> int:
    return sum(one.is_complete and one.name != here.name for one in view.holders)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
