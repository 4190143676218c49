"""The membership table: every member we know, ourselves and the ex-members included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.buckets import hash_of_claim
from spegel_gossip.swim.claim_codec import PackedClaim, pack_claim
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.member import Member, MemberRecord, MemberState
from spegel_gossip.swim.names import name_hash

OTHER_FAMILY_AFTER = 2
"""Direct acks missed in a row after which a member is tried at a family that this node does not advertise."""

_ROUND_TRIP_WEIGHT = 0.125  # of a new sample, as in TCP (RFC 6298)


@dataclass(slots=True)
class Entry:
    """What we hold about one member; owned by the table."""

    member: Member
    since_at: float
    """When it entered its state in this life; for ex-members corrected by the age they came with."""

    address: Address
    """Where it is sent to: an address of its record, the one it last spoke from if it has."""

    packed: PackedClaim
    """What we tell others of it. Packed once: with 5,000 members a push-pull would take 20 ms to do it."""

    claim_hash: int
    """Its part of its bucket's hash."""

    name_hash: int
    """Which says the bucket."""

    accuser: str = ""
    note: bytes = b""
    """What the layer above has to say to it with the next ping or ack."""

    round_trip_time: float | None = None
    last_probe_at: float | None = None
    last_ack_at: float | None = None
    missed_acks: int = 0
    """Probes in a row without a direct ack, however else it answered."""

    is_udp_blocked: bool = False

    clock_offset: float | None = None
    """By how many seconds its clock is ahead of ours; None before the first ack that says."""

    clock_told: float = 0.0
    """Of that, what the layer above knows."""

    @property
    def name(self) -> str:
        """The member's name."""
        return self.member.record.name

    @property
    def state(self) -> MemberState:
        """The member's state."""
        return self.member.state

    def claim(self, now: float) -> Claim:
        """Return what we hold as a claim for others."""
        return Claim(
            self.member.record, self.member.incarnation, self.member.state, self.accuser, self.age(now)
        )

    def age(self, now: float) -> float:
        """Return for how long it is dead or gone; 0 for the living."""
        return 0.0 if self.member.is_live else max(0.0, now - self.since_at)

    def acked_directly(self, round_trip_time: float) -> None:
        """Take in one direct ack, after so many seconds."""
        self.missed_acks, self.is_udp_blocked = 0, False
        old = self.round_trip_time
        self.round_trip_time = (
            round_trip_time if old is None else old + _ROUND_TRIP_WEIGHT * (round_trip_time - old)
        )

    def spoke_from(self, address: Address) -> None:
        """Answer it where it speaks from, if it says that it lives there."""
        if address != self.address and address in self.member.record.addresses:
            self.address = address


class MemberTable:
    """Entries by name, with the live others at hand for sampling.

    Its owner sees to it that nobody enters when it is full.
    """

    def __init__(self, own: Claim, *, max_members: int) -> None:
        self._families = _families(own.record)
        self._max_members = max_members
        member = Member(own.record, own.state, own.incarnation)
        self.own = Entry(
            member, 0.0, own.record.addresses[0], pack_claim(own), hash_of_claim(own), name_hash(own.name)
        )
        self._entries = {own.name: self.own}
        self._live: list[str] = []
        self._live_at: dict[str, int] = {}
        self._ex: dict[str, None] = {}
        self._by_address: dict[Address, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def get(self, name: str) -> Entry | None:
        """Return a member's entry; None if it is unknown."""
        return self._entries.get(name)

    @property
    def n(self) -> int:
        """How many members are ALIVE or SUSPECT, ourselves counted."""
        return 1 + len(self._live)

    def told(self, now: float, *, silent_age: float) -> list[Entry]:
        """Return whom others are told of: all but the tombstones of that age (departure 4)."""
        entries = self._entries
        living = [self.own, *(entries[name] for name in self._live)]
        return living + [one for one in self.ex_members if now - one.since_at < silent_age]

    @property
    def ex_members(self) -> list[Entry]:
        """Members that are DEAD or LEFT, in the order in which they became so."""
        return [self._entries[name] for name in self._ex]

    def latest_ex_members(self, count: int) -> list[Entry]:
        """Return the members that became DEAD or LEFT last; cheap."""
        return [self._entries[name] for name in islice(reversed(self._ex), count)]

    @property
    def has_ex_members(self) -> bool:
        """Whether anybody is DEAD or LEFT; cheap."""
        return bool(self._ex)

    def at_address(self, address: Address) -> Entry | None:
        """Return the live other member that has this address."""
        name = self._by_address.get(address)
        return None if name is None else self._entries[name]

    def is_live_other(self, name: str) -> bool:
        """Whether this is a live member other than ourselves."""
        return name in self._live_at

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another member."""
        return len(self._entries) >= self._max_members

    def put(self, claim: Claim, now: float) -> Entry:
        """Make the table say what `claim` says; return the entry."""
        entry = self._entries.get(claim.name)
        member = Member(claim.record, claim.state, claim.incarnation)
        since_at = now if member.is_live else now - claim.age
        if entry is None:
            entry = self._entry(claim, member, since_at)
            self._entries[claim.name] = entry
        else:
            self._unindex(entry)
            if _is_another_time(entry.member, member):
                entry.since_at = since_at
            if entry.member.record.addresses != claim.record.addresses:
                if entry is self.own:
                    self._we_moved(claim.record)
                entry.address = self.best_address(claim.record.addresses)
                entry.is_udp_blocked = False
            entry.member, entry.accuser = member, claim.accuser
            entry.packed, entry.claim_hash = pack_claim(claim), hash_of_claim(claim)
        self._index(entry)
        return entry

    def remove(self, name: str) -> None:
        """Forget a member."""
        self._unindex(self._entries.pop(name))

    def sample(
        self, count: int, rng: random.Random, *, excluding: Callable[[Entry], bool] | None = None
    ) -> list[Entry]:
        """Return up to `count` distinct live others, chosen at random."""
        names = rng.sample(self._live, min(len(self._live), count + 8 if excluding else count))
        chosen = [self._entries[name] for name in names]
        if excluding is not None:
            chosen = [entry for entry in chosen if not excluding(entry)]
        return chosen[:count]

    def _entry(self, claim: Claim, member: Member, since_at: float) -> Entry:
        return Entry(
            member=member,
            since_at=since_at,
            address=self.best_address(claim.record.addresses),
            packed=pack_claim(claim),
            claim_hash=hash_of_claim(claim),
            name_hash=name_hash(claim.name),
            accuser=claim.accuser,
        )

    def try_next_address(self, entry: Entry) -> None:
        """Try another of a member's addresses next time; this one did not answer.

        One lost datagram is no reason to try a family that this node does not advertise,
        which would cost the next probe too; more are, for it may have it all the same.
        """
        addresses: Sequence[Address] = entry.member.record.addresses
        if entry.member.is_live and entry.missed_acks < OTHER_FAMILY_AFTER:
            addresses = self._reachable(addresses)
        at = addresses.index(entry.address) if entry.address in addresses else -1
        entry.address = addresses[(at + 1) % len(addresses)]

    def best_address(self, addresses: Sequence[Address]) -> Address:
        """Return the first address of a family that this node has; the first of all if there is none."""
        return self._reachable(addresses)[0]

    def _reachable(self, addresses: Sequence[Address]) -> Sequence[Address]:
        return [one for one in addresses if _family(one) in self._families] or addresses

    def _we_moved(self, record: MemberRecord) -> None:
        """Reach others by the families that we have now."""
        self._families = _families(record)
        for entry in self._entries.values():
            if _family(entry.address) not in self._families:
                entry.address = self.best_address(entry.member.record.addresses)

    def _index(self, entry: Entry) -> None:
        name = entry.name
        if entry is self.own:
            return
        if not entry.member.is_live:
            self._ex[name] = None
            return
        self._live_at[name] = len(self._live)
        self._live.append(name)
        for address in entry.member.record.addresses:
            self._by_address[address] = name

    def _unindex(self, entry: Entry) -> None:
        name = entry.name
        self._ex.pop(name, None)
        at = self._live_at.pop(name, None)
        if at is None:
            return
        last = self._live.pop()
        if last != name:
            self._live[at] = last
            self._live_at[last] = at
        for address in entry.member.record.addresses:
            if self._by_address.get(address) == name:
                del self._by_address[address]


def _is_another_time(old: Member, new: Member) -> bool:
    """Return whether the time in a state begins anew: a later life has its own, and its own death."""
    if old.state is not new.state:
        return True
    return old.record.boot != new.record.boot if new.is_live else old.incarnation != new.incarnation


def _families(record: MemberRecord) -> set[bool]:
    return {_family(address) for address in record.addresses}


def _family(address: Address) -> bool:
    return ":" in address.host
