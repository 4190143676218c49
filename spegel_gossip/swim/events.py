"""What the engine tells the program about the membership."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.member import Member


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member is ALIVE that was unknown, DEAD or LEFT before, or lives a new boot."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """A live member changed its record (address, zone, version) within one boot."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberSuspected:
    """A member is SUSPECT; it stays on the ring."""

    member: Member
    accuser: str


@dataclass(frozen=True, slots=True)
class MemberRefuted:
    """A suspected member is ALIVE again."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberDied:
    """A suspicion ran out, or another member's did."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member went on purpose."""

    member: Member


@dataclass(frozen=True, slots=True)
class NoteReceived:
    """A ping or ack brought the note of the layer above (at most 24 opaque bytes)."""

    name: str
    note: bytes


@dataclass(frozen=True, slots=True)
class NameConflicted:
    """Somebody else lives under our own name, at another address, with another boot."""

    name: str
    address: Address
    boot: int


@dataclass(frozen=True, slots=True)
class BootRaised:
    """Our own boot was raised past one the cluster remembers: the clock went back between two lives."""

    boot: int


@dataclass(frozen=True, slots=True)
class UdpBlocked:
    """A member answers over TCP only: UDP between it and us is blocked, one way at least."""

    member: Member


@dataclass(frozen=True, slots=True)
class ClockDiffers:
    """A member's clock is found to be off from ours, further off, or right again."""

    member: Member
    seconds: float
    """By how much it is ahead."""


MembershipEvent = (
    MemberJoined
    | MemberUpdated
    | MemberSuspected
    | MemberRefuted
    | MemberDied
    | MemberLeft
    | NoteReceived
    | NameConflicted
    | BootRaised
    | UdpBlocked
    | ClockDiffers
)
