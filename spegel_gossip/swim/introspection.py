"""What the engine shows of itself, read only: for the CLI, the page and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.member import Member


@dataclass(slots=True)
class SwimCounters:
    """Counts since the engine was made; each only grows."""

    datagrams_sent: int = 0
    datagram_bytes_sent: int = 0
    datagrams_received: int = 0
    datagrams_malformed: int = 0
    claims_sent: int = 0
    claims_accepted: int = 0
    probes: int = 0
    probes_acked: int = 0
    """By the target itself; the outcomes of a probe are this, the next two, and failed."""
    probes_acked_by_relay: int = 0
    probes_acked_by_tcp: int = 0
    probes_failed: int = 0
    indirect_probes: int = 0
    relayed_pings: int = 0
    relays_refused: int = 0
    missed_nacks: int = 0
    tcp_pings: int = 0
    tcp_pings_answered: int = 0
    ex_member_probes: int = 0
    suspicions: int = 0
    confirmations: int = 0
    refutations: int = 0
    """Times that we had to deny something said about ourselves."""
    deaths_declared: int = 0
    """Suspicions that ran out here."""
    name_conflicts: int = 0
    members_refused: int = 0
    """Newcomers for whom the membership table had no room."""
    push_pulls: int = 0
    push_pulls_failed: int = 0
    push_pulls_answered: int = 0
    late_wakes: int = 0
    """Times that this member was not run for longer than a probe interval."""


@dataclass(frozen=True, slots=True)
class MemberDetail:
    """All that this member knows of another at one moment; times are ages in seconds."""

    member: Member
    address: Address
    """Where it is sent to at present."""

    state_age: float
    round_trip_time: float | None
    """Smoothed, in seconds; None before the first ack."""

    last_probe_age: float | None
    last_ack_age: float | None
    accusers: tuple[str, ...]
    """Who suspects it, the first accuser in front; for the dead, who declared it."""

    suspicion_left: float | None
    """Seconds until the suspicion becomes a death; None if it is not suspected."""

    is_udp_blocked: bool
    """Whether it answers over TCP only."""

    clock_offset: float | None
    """By how many seconds its clock is ahead of ours; None before the first ack that says."""


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another process that lives under our name."""

    address: Address
    boot: int
