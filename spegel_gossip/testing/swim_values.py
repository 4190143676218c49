"""Records and claims for tests, all but the interesting part given."""

from __future__ import annotations

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.member import MemberRecord, MemberState

BOOT = 1_700_000_000_000
"""The boot, and so the first incarnation, of every record made here."""

PORT = 29501


def address_of(name: str) -> Address:
    """Return the address at which a member of that name lives in tests: its last number counts."""
    number = int("".join(filter(str.isdigit, name)) or 0)
    return Address(f"10.1.{number >> 8 & 255}.{number & 255}", PORT)


def make_record(
    name: str, *, boot: int = BOOT, address: Address | None = None, zone: str = ""
) -> MemberRecord:
    """Return a member record."""
    return MemberRecord(name, boot, (address or address_of(name),), zone)


def make_claim(
    name: str,
    state: MemberState = MemberState.ALIVE,
    *,
    incarnation: int = BOOT,
    accuser: str = "",
    age: float = 0.0,
    record: MemberRecord | None = None,
) -> Claim:
    """Return a claim about a member."""
    return Claim(record or make_record(name), incarnation, state, accuser, age)
