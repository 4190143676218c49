"""Probe rounds: ping, then ping-req through others, then suspect."""

from __future__ import annotations

import random
from dataclasses import dataclass

from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.courier import Courier
from spegel_gossip.swim.events import ClockDiffers, UdpBlocked
from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.members import Entry
from spegel_gossip.swim.messages import PingReq
from spegel_gossip.swim.outbox import Outbox, TcpPing
from spegel_gossip.swim.view import View

RECENT_EX_MEMBERS = 16
"""Ex-members of which one is probed every other time: a fresh partition heals soon."""

EX_MEMBER_JITTER = 0.1

CLOCK_STEP = 5.0
"""Seconds by which a clock must have moved against ours to be told of; signed requests bear 30."""

UDP_BLOCKED_AFTER = 3
"""Direct acks missed in a row, with TCP answering, after which UDP counts as blocked; one is mere loss."""


@dataclass(slots=True)
class _Probe:
    """The probe under way; there is one at a time."""

    target: str
    seq: int
    sent_at: float
    indirect_at: float | None
    """When to ask others; None once they were asked or an ack came."""

    relays: int = 0
    nacks: int = 0
    is_answered: bool = False


class Prober:
    """Probes one live member each round, and now and then one that died."""

    def __init__(
        self, view: View, courier: Courier, config: SwimConfig, rng: random.Random, outbox: Outbox,
        counters: SwimCounters,
    ) -> None:  # fmt: skip
        self._view = view
        self._courier = courier
        self._config = config
        self._rng = rng
        self._outbox = outbox
        self._counters = counters
        self._probe: _Probe | None = None
        self._round_at: float | None = None
        self._ex_member_at: float | None = None
        self._ex_member_turn = 0
        self._ex_member_cursor = ""

    def start(self, now: float) -> None:
        """Begin probing, at a random moment within one interval: members do not march in step."""
        self._round_at = now + self._rng.random() * self._config.probe_interval
        self._schedule_ex_member(now)

    def stop(self) -> None:
        """Probe no more: we are leaving."""
        self._probe = self._round_at = self._ex_member_at = None

    def abandon(self) -> None:
        """Forget the probe under way: this member slept through its answer."""
        self._probe = None

    def next_timer_at(self) -> float | None:
        """Return when the next step of a probe round is due."""
        times = [self._round_at, self._ex_member_at]
        if self._probe is not None:
            times.append(self._probe.indirect_at)
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Ask others, pass the verdict, begin the next round: what is due."""
        if not self._ask_others_when_due(now) and self._round_at is not None and self._round_at <= now:
            if self._probe is not None and not self._probe.is_answered:
                self._suspect(self._probe, now)
            self._begin_round(now)
        if self._ex_member_at is not None and self._ex_member_at <= now:
            self._probe_ex_member(now)

    def acked(self, seq: int, sender_name: str, time_ms: int, now: float) -> None:
        """Take in an ack, from the target or through a relay, and what time it says it is."""
        probe = self._probe
        if probe is None or probe.seq != seq:
            return
        is_direct = sender_name == probe.target
        if is_direct and (entry := self._view.table.get(sender_name)) is not None:
            entry.acked_directly(now - probe.sent_at)
            if time_ms and self._courier.clock_ahead is not None:
                # It looked at its clock half way between our ping and its ack.
                half_way_at = (probe.sent_at + now) / 2 + self._courier.clock_ahead
                self._compare_clocks(entry, time_ms / 1000 - half_way_at)
        if self._succeeded(probe, now):
            if is_direct:
                self._counters.probes_acked += 1
            else:
                self._counters.probes_acked_by_relay += 1

    def _compare_clocks(self, entry: Entry, offset: float) -> None:
        entry.clock_offset = offset
        # Against what was told, not what was seen last: a clock that drifts is told of too.
        if abs(offset - entry.clock_told) >= CLOCK_STEP:
            entry.clock_told = offset
            self._outbox.tell(ClockDiffers(entry.member, offset))

    def nacked(self, seq: int) -> None:
        """Take in a relay's word that it is there, though the target is silent."""
        if self._probe is not None and self._probe.seq == seq:
            self._probe.nacks += 1

    def tcp_answered(self, ping: TcpPing, now: float) -> None:
        """Take in that the target answered over a stream: it lives, though UDP does not reach it."""
        self._counters.tcp_pings_answered += 1
        entry = self._view.table.get(ping.peer)
        if entry is not None and entry.missed_acks >= UDP_BLOCKED_AFTER and not entry.is_udp_blocked:
            entry.is_udp_blocked = True
            self._outbox.tell(UdpBlocked(entry.member))
        if self._probe is not None and self._probe.seq == ping.seq and self._succeeded(self._probe, now):
            self._counters.probes_acked_by_tcp += 1

    def _succeeded(self, probe: _Probe, now: float) -> bool:
        """Take in that a probe was answered; return whether it was not before."""
        if probe.is_answered:
            return False
        probe.is_answered, probe.indirect_at = True, None
        self._view.health.change(-1)
        entry = self._view.table.get(probe.target)
        if entry is not None:
            entry.last_ack_at = now
        return True

    def _begin_round(self, now: float) -> None:
        # Local health stretches the round, not the wait for the direct ack: waiting
        # longer does not help a datagram, asking others sooner does (departure 6).
        self._round_at = now + self._config.probe_interval * self._view.health.multiplier
        self._probe = None
        target = self._view.probe_order.next_member()
        if target is None:
            return
        self._counters.probes += 1
        entry = self._view.table[target]
        entry.last_probe_at = now
        seq = self._courier.ping(target, to=entry.address, now=now)
        self._probe = _Probe(target, seq, now, now + self._config.probe_timeout)

    def _ask_others_when_due(self, now: float) -> bool:
        """Ask others if the direct ack is overdue; return whether they were asked.

        They have the time they would have had, however late they are asked, and the
        verdict waits for them: a member that was held up for half a second has its
        target's ack unread in the socket (departure 6).
        """
        probe = self._probe
        if probe is None or probe.indirect_at is None or self._round_at is None:
            return False
        if now < probe.indirect_at or self._round_at <= probe.indirect_at:
            return False  # not yet; or by the configuration never
        if self._config.distrusts_late_wakes:
            self._round_at += now - probe.indirect_at
        elif self._round_at <= now:
            return False
        self._ask_others(probe, now)
        return True

    def _ask_others(self, probe: _Probe, now: float) -> None:
        probe.indirect_at = None
        target = self._view.table.get(probe.target)
        if target is None or not target.member.is_live:
            return
        addresses = target.member.record.addresses
        relays = self._view.table.sample(
            self._config.indirect_probes,
            self._rng,
            excluding=lambda entry: entry.name == probe.target or entry.state is not MemberState.ALIVE,
        )
        request = PingReq(probe.seq, probe.target, addresses)
        for relay in relays:
            self._courier.send(request, to=relay.address, target=relay.name, now=now)
        probe.relays = len(relays)
        self._counters.indirect_probes += len(relays)
        self._counters.tcp_pings += 1
        self._outbox.open(TcpPing(probe.target, addresses, probe.seq))
        target.missed_acks += 1
        self._view.table.try_next_address(target)

    def _suspect(self, probe: _Probe, now: float) -> None:
        missed = max(0, probe.relays - probe.nacks)
        self._counters.probes_failed += 1
        self._counters.missed_nacks += missed
        # Relays that answer with a nack prove that our links are sound, and the fault
        # is the target's. Who could ask nobody has no such proof.
        self._view.health.change(missed if probe.relays else 1)
        self._view.suspect(probe.target, now)

    def _schedule_ex_member(self, now: float) -> None:
        jitter = 1.0 + EX_MEMBER_JITTER * (2.0 * self._rng.random() - 1.0)
        self._ex_member_at = now + self._config.ex_member_probe_interval * jitter

    def _probe_ex_member(self, now: float) -> None:
        """Ping one of the dead; the courier tells it so, and it can deny it (departure 4)."""
        self._schedule_ex_member(now)
        entry = self._pick_ex_member()
        if entry is None:
            return
        self._counters.ex_member_probes += 1
        entry.last_probe_at = now
        self._view.table.try_next_address(entry)
        self._courier.ping(entry.name, to=entry.address, now=now)

    def _pick_ex_member(self) -> Entry | None:
        """Return, in turn, one of the most recent dead and one of the rest round robin."""
        dead = [entry for entry in self._view.table.ex_members if entry.state is MemberState.DEAD]
        if not dead:
            return None
        dead.sort(key=lambda entry: (-entry.since_at, entry.name))
        recent, rest = dead[:RECENT_EX_MEMBERS], dead[RECENT_EX_MEMBERS:]
        self._ex_member_turn += 1
        if not rest or self._ex_member_turn % 2:
            return self._rng.choice(recent)
        rest.sort(key=lambda entry: entry.name)
        entry = next((one for one in rest if one.name > self._ex_member_cursor), rest[0])
        self._ex_member_cursor = entry.name
        return entry
