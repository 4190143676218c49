"""What the engine wants done: datagrams, streams, events; drained by its driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import MembershipEvent

MAX_DATAGRAMS = 8192
"""Datagrams that wait for the driver. Beyond, new ones are lost, as the network may lose them."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram body to send."""

    data: bytes
    to: Address
    target: str
    """The member it is for; whoever bears another name drops it (departure 7)."""


@dataclass(frozen=True, slots=True)
class PushPull:
    """An exchange of full state to make over a stream.

    The driver posts `Swim.push_pull_hashes` to the peer, gives the answer to
    `Swim.push_pull_claims`, posts what that returns if it is not None, and ends
    with `Swim.push_pull_done` or `Swim.push_pull_failed`, always.
    """

    peer: str
    """The member; empty for a seed, whose name is not known yet."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class TcpPing:
    """A ping to make over a stream, because the datagram was not answered.

    The driver ends it with `Swim.tcp_ping_answered`; a failure needs no word.
    """

    peer: str
    addresses: tuple[Address, ...]
    seq: int


Stream = PushPull | TcpPing


@dataclass(slots=True)
class Outbox:
    """The engine's effects, in the order in which they were decided."""

    _datagrams: list[Datagram] = field(default_factory=list)
    _streams: list[Stream] = field(default_factory=list)
    _events: list[MembershipEvent] = field(default_factory=list)

    def send(self, datagram: Datagram) -> None:
        """Queue a datagram."""
        if len(self._datagrams) < MAX_DATAGRAMS:
            self._datagrams.append(datagram)

    def open(self, stream: Stream) -> None:
        """Queue a stream; the engine's own caps bound how many there are."""
        self._streams.append(stream)

    def tell(self, event: MembershipEvent) -> None:
        """Queue an event."""
        self._events.append(event)

    def take_datagrams(self) -> list[Datagram]:
        """Return and forget the queued datagrams."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_streams(self) -> list[Stream]:
        """Return and forget the queued streams."""
        taken, self._streams = self._streams, []
        return taken

    def take_events(self) -> list[MembershipEvent]:
        """Return and forget the queued events."""
        taken, self._events = self._events, []
        return taken
