"""The engine: SWIM with Lifeguard as calls in, effects out.

It never awaits, knows no clock and no socket. One task owns it and drives it:

    engine.start(now); engine.join(seeds, now)
    for ever: sleep until engine.next_timer_at() or a datagram;
              engine.receive_datagram(...) or engine.handle_timer(now);
              send engine.datagrams_to_send(), open engine.streams_to_open(),
              tell engine.events()

A call from elsewhere can make `next_timer_at` earlier and queue effects, so the
driver must be woken after each. Such methods say so.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claim_codec import check_record
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.courier import Courier
from spegel_gossip.swim.events import MembershipEvent
from spegel_gossip.swim.exchanges import Exchanges, Turns, at_once
from spegel_gossip.swim.gossiper import Gossiper
from spegel_gossip.swim.introspection import MemberDetail, NameConflict, SwimCounters
from spegel_gossip.swim.member import Member, MemberRecord, MemberState
from spegel_gossip.swim.members import Entry
from spegel_gossip.swim.messages import MAX_NOTE_BYTES
from spegel_gossip.swim.outbox import Datagram, Outbox, PushPull, Stream, TcpPing
from spegel_gossip.swim.prober import Prober
from spegel_gossip.swim.receiver import Receiver
from spegel_gossip.swim.relays import Relays
from spegel_gossip.swim.view import View

T = TypeVar("T")


class Swim:
    """One member's side of the membership protocol.

    The incarnation starts at the record's boot. Nothing is told about ourselves:
    events are about others, but `members` and `get` include us.
    """

    def __init__(self, record: MemberRecord, config: SwimConfig, rng: random.Random) -> None:
        """Make an engine that is alone until `join`.

        Raises:
            ConfigError: the record cannot be put on the wire; the message says why.
        """
        check_record(record)
        self._config = config
        self._outbox = Outbox()
        self.counters = SwimCounters()
        self._view = View(record, config, rng, self._outbox, self.counters)
        self._courier = Courier(self._view, config, self._outbox, self.counters)
        self._prober = Prober(self._view, self._courier, config, rng, self._outbox, self.counters)
        self._relays = Relays(self._view, self._courier, config, self.counters)
        self._exchanges = Exchanges(self._view, config, rng, self._outbox, self.counters)
        self._receiver = Receiver(
            self._view, self._courier, self._prober, self._relays, self._exchanges, self._outbox
        )
        self._gossiper = Gossiper(self._view, self._courier, config, rng)

    # What the program wants. Each of these must wake the driver.

    def start(self, now: float) -> None:
        """Begin to probe and to push-pull."""
        self._view.own.since_at = now
        self._prober.start(now)
        self._exchanges.start(now)

    def join(self, addresses: Sequence[Address], now: float) -> None:
        """Get to know the cluster through any of these addresses.

        May be called at any time and as often as wanted: addresses of live members
        and our own cost nothing. While we are alone those that fail are tried again,
        after 1 s, and up to 15 s.
        """
        if not self.is_leaving:
            self._exchanges.join(addresses, now)

    def leave(self, now: float) -> None:
        """Tell the others that we go; go when `has_left`."""
        if self.is_leaving:
            return
        self._prober.stop()
        self._exchanges.stop()
        self._view.leave(now)
        self._gossiper.hurry(now)

    def set_note(self, name: str, note: bytes) -> None:
        """Have pings and acks to a member bear a note; empty for none (departure 5).

        Needs no waking. A member that is unknown or dead has no notes.
        """
        if len(note) > MAX_NOTE_BYTES:
            raise ValueError(f"a note has at most {MAX_NOTE_BYTES} bytes, got {len(note)}")
        entry = self._view.table.get(name)
        if entry is not None and entry.member.is_live:
            entry.note = note

    def set_clock(self, unix_time: float, now: float) -> None:
        """Say what time it is by this node's clock, which may have been set since (departure 5).

        Needs no waking. Until it is called, acks say no time and others' clocks are not compared.
        """
        self._courier.clock_ahead = unix_time - now

    def change_record(self, record: MemberRecord, now: float) -> None:
        """Tell the others of new addresses, another zone or version of ours.

        Raises:
            ConfigError: the record cannot be put on the wire.
        """
        check_record(record)
        if record.name != self._view.name:
            raise ValueError(f"a member keeps its name, {self._view.name!r}")
        self._view.change_record(record, now)
        self._gossiper.schedule(now)

    # What the network says.

    def receive_datagram(self, data: bytes, sender: Address, sender_name: str, now: float) -> None:
        """Take in a datagram body.

        Args:
            data: the body, opened
            sender: where it came from; acks go back there
            sender_name: who sealed it
            now: monotonic seconds

        Raises:
            DecodeError: it is malformed; what stood before the fault was taken in.
        """
        self.counters.datagrams_received += 1
        try:
            if sender_name == self._view.name:
                self._receiver.receive_from_namesake(data, now)
            else:
                self._receiver.receive(data, sender, sender_name, now)
        except DecodeError:
            self.counters.datagrams_malformed += 1
            raise
        finally:
            self._gossiper.schedule(now)

    def push_pull_hashes(self, now: float) -> bytes:
        """Return the body of a push-pull's first request."""
        return self._exchanges.hashes(now)

    def answer_push_pull(self, body: bytes, sender_name: str, now: float) -> bytes:
        """Answer either request of another's push-pull; the driver must be woken.

        Raises:
            DecodeError: the body is malformed.
        """
        return at_once(self.answer_push_pull_in_turns(body, sender_name), now)

    def answer_push_pull_in_turns(self, body: bytes, sender_name: str) -> Turns[bytes]:
        """Do the same in turns of a millisecond; the driver must be woken after each."""
        return self._gossip_after(self._exchanges.answer(body, sender_name))

    def push_pull_claims(self, answer: bytes, exchange: PushPull, now: float) -> bytes | None:
        """Take in the answer to the first request; return the body of the second.

        None means that the peer knows all we know, and the exchange is at its end.

        Raises:
            DecodeError: the answer is malformed; say `push_pull_failed`.
        """
        return at_once(self.push_pull_claims_in_turns(answer, exchange), now)

    def push_pull_claims_in_turns(self, answer: bytes, exchange: PushPull) -> Turns[bytes | None]:
        """Do the same in turns of a millisecond; the driver must be woken after each."""
        return self._gossip_after(self._exchanges.claims(answer, exchange))

    def push_pull_done(self, exchange: PushPull, now: float) -> None:
        """Take in that an exchange came to its end."""
        self._exchanges.done(exchange, now)

    def push_pull_failed(self, exchange: PushPull, now: float) -> None:
        """Take in that an exchange did not."""
        self._exchanges.failed(exchange, now)

    def tcp_ping_answered(self, ping: TcpPing, now: float) -> None:
        """Take in that a member answered over a stream what it did not over UDP."""
        self._prober.tcp_answered(ping, now)

    # Time.

    def next_timer_at(self) -> float | None:
        """Return when `handle_timer` is due next; None if nothing is to be done."""
        times = (
            self._view.next_timer_at(),
            self._prober.next_timer_at(),
            self._relays.next_timer_at(),
            self._exchanges.next_timer_at(),
            self._gossiper.next_timer_at(),
        )
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do all that was due by `now`, however late `now` is."""
        due_at = self.next_timer_at()
        if due_at is None or due_at > now:
            return
        if self._config.distrusts_late_wakes and now - due_at >= self._config.probe_interval:
            self._woke_late(now - due_at)
        self._prober.handle_timer(now)
        self._relays.handle_timer(now)
        self._view.handle_timer(now)
        self._exchanges.handle_timer(now)
        self._gossiper.handle_timer(now)

    # Effects.

    def datagrams_to_send(self) -> list[Datagram]:
        """Return and forget the datagrams to send, in order."""
        return self._outbox.take_datagrams()

    def streams_to_open(self) -> list[Stream]:
        """Return and forget the streams to open."""
        return self._outbox.take_streams()

    def events(self) -> list[MembershipEvent]:
        """Return and forget what happened, in order."""
        return self._outbox.take_events()

    # Reading.

    @property
    def own(self) -> Member:
        """Ourselves, as the cluster is told."""
        return self._view.own.member

    @property
    def is_leaving(self) -> bool:
        """Whether `leave` was called."""
        return self._view.own.state is MemberState.LEFT

    @property
    def has_left(self) -> bool:
        """Whether all was sent that tells the others that we go."""
        return self.is_leaving and len(self._view.queue) == 0

    @property
    def has_company(self) -> bool:
        """Whether any other member is live, or a seed was ever reached."""
        return self._view.table.n > 1 or self._exchanges.seeds_reached > 0

    @property
    def n(self) -> int:
        """How many members are ALIVE or SUSPECT, ourselves counted."""
        return self._view.table.n

    @property
    def local_health(self) -> int:
        """Lifeguard's local health score; 0 is well."""
        return self._view.health.score

    @property
    def queue_length(self) -> int:
        """Claims that wait to be disseminated."""
        return len(self._view.queue)

    @property
    def conflicts(self) -> tuple[NameConflict, ...]:
        """Other processes that live under our name (departure 2)."""
        return self._view.conflicts

    def members(self) -> list[Member]:
        """Return all members, ourselves and the ex-members included."""
        return [entry.member for entry in self._view.table]

    def get(self, name: str) -> Member | None:
        """Return one member; None if it is unknown."""
        entry = self._view.table.get(name)
        return None if entry is None else entry.member

    def is_udp_blocked(self, name: str) -> bool:
        """Return whether a member answers over TCP only."""
        entry = self._view.table.get(name)
        return entry is not None and entry.is_udp_blocked

    def detail(self, name: str, now: float) -> MemberDetail | None:
        """Return all we know of one member; None if it is unknown."""
        entry = self._view.table.get(name)
        return None if entry is None else self._detail(entry, now)

    def details(self, now: float) -> list[MemberDetail]:
        """Return all we know of everybody."""
        return [self._detail(entry, now) for entry in self._view.table]

    def _gossip_after(self, turns: Turns[T]) -> Turns[T]:
        """Pass turns on, each followed by a look whether there is something to spread."""
        next(turns)
        while True:
            now = yield
            try:
                turns.send(now)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self._gossiper.schedule(now)

    def _woke_late(self, seconds: float) -> None:
        """Distrust what silence seemed to say while this member was not running.

        Acks and refutations of that time are still in the socket, or lost. The probe
        under way is forgotten and suspicions are given the time again.
        """
        self.counters.late_wakes += 1
        self._view.health.change(1)
        self._view.postpone(seconds)
        self._prober.abandon()

    def _detail(self, entry: Entry, now: float) -> MemberDetail:
        suspicion = self._view.suspicions.get(entry.name)
        accusers = (entry.accuser,) if entry.accuser else ()
        return MemberDetail(
            member=entry.member,
            address=entry.address,
            state_age=now - entry.since_at,
            round_trip_time=entry.round_trip_time,
            last_probe_age=None if entry.last_probe_at is None else now - entry.last_probe_at,
            last_ack_age=None if entry.last_ack_at is None else now - entry.last_ack_at,
            accusers=accusers if suspicion is None else suspicion.accusers,
            suspicion_left=None if suspicion is None else max(0.0, suspicion.ends_at - now),
            is_udp_blocked=entry.is_udp_blocked,
            clock_offset=entry.clock_offset,
        )
