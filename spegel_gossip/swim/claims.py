"""What is said about a member, and which of two statements wins.

Every claim carries the member's whole record. It costs some seventy bytes, and it
makes the merge of claims order-free: two members that heard the same claims, in any
order and any number of times, hold the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.swim.member import Member, MemberRecord, MemberState

INCARNATION_LIMIT = 1 << 62
"""Incarnations and boots from here on are refused: nobody could ever refute one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement: this member, at this incarnation, is in this state."""

    record: MemberRecord
    incarnation: int
    state: MemberState
    accuser: str = ""
    """Who suspects the member, or whose suspicion ran out; empty for ALIVE and LEFT."""

    age: float = 0.0
    """Seconds since the member died or left, so that a tombstone ages across members."""

    @property
    def name(self) -> str:
        """The member that the claim is about."""
        return self.record.name


def supersedes(new: Claim | Member, old: Claim | Member) -> bool:
    """Return whether `new` replaces `old` in the membership table.

    An entry of the table is compared as it is: gossip brings each claim some ten times,
    and a claim need not be made of what is held to see that it says nothing new.

    A higher incarnation wins; at the same incarnation the more severe state wins
    (departure 1). Only the member itself raises its incarnation, so only it can
    lift a suspicion, and only it can change its record: what remains of the order
    matters only where two processes share a name.

    SWIM section 4.2 lets Confirm (our DEAD) beat every incarnation. We do not: a
    DaemonSet pod comes back under its old name and must be able to rejoin.
    """
    if new.incarnation != old.incarnation:
        return new.incarnation > old.incarnation
    if new.state is not old.state:
        return new.state > old.state
    if new.record is old.record or new.record == old.record:
        return False
    return _record_order(new.record) > _record_order(old.record)


def _record_order(record: MemberRecord) -> tuple[object, ...]:
    return (
        record.boot, record.addresses, record.zone, record.version, record.wire_min, record.wire_max,
        record.appended,
    )  # fmt: skip
