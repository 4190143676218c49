"""A member: what it says of itself, and what the cluster thinks of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from spegel_gossip.swim.address import Address


class MemberState(IntEnum):
    """How a member stands; the order is that of severity at one incarnation.

    The numbers are on the wire: only append.
    """

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What a member says of itself; only the member itself changes it."""

    name: str
    """Unique in the cluster: the Kubernetes node's name."""

    boot: int
    """One life of the process (u64). A new boot is a new owner and a new holder of everything."""

    addresses: tuple[Address, ...]
    """Where its peer port is reached, UDP and TCP alike; v4 and v6."""

    zone: str = ""
    """Topology zone; empty if unknown."""

    version: str = ""
    """The release it runs, for people."""

    wire_min: int = 1
    """The oldest wire version it understands."""

    wire_max: int = 1
    """The newest wire version it understands."""

    appended: tuple[bytes, ...] = ()
    """Fields that a later release appended to its claims, each as it came, to be passed on."""


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of the membership table."""

    record: MemberRecord
    state: MemberState
    incarnation: int
    """Version of everything said about the member; only the member raises it."""

    @property
    def name(self) -> str:
        """The member's name."""
        return self.record.name

    @property
    def is_live(self) -> bool:
        """Whether it is on the ring: ALIVE and SUSPECT are; a suspicion moves nothing."""
        return self.state in {MemberState.ALIVE, MemberState.SUSPECT}
