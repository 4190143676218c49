"""One engine and a pen: what it sends is read, what it hears is written by the test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from spegel_gossip.swim import codec, exchange_codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.events import MembershipEvent
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import BucketClaims, BucketHashes, Message
from spegel_gossip.swim.outbox import Datagram, Stream
from spegel_gossip.testing.swim_values import address_of, make_claim, make_record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that the engine sent."""

    at: float
    target: str
    to: Address
    message: Message


class SoloEngine:
    """The engine of `n0`, its clock, and all that came out of it."""

    def __init__(
        self,
        *others: str,
        config: SwimConfig | None = None,
        record: MemberRecord | None = None,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.config = config or SwimConfig()
        self.engine = Swim(record or make_record("n0"), self.config, random.Random(seed))
        self.sent: list[Sent] = []
        self.datagrams: list[Datagram] = []
        self.streams: list[Stream] = []
        self.events: list[MembershipEvent] = []
        if others:
            self.push_pull("n1", [make_claim(name) for name in others])
            self.forget()

    def start(self) -> None:
        """Begin to probe."""
        self.engine.start(self.now)
        self.drain()

    def hear(self, sender: str, *messages: Message, address: Address | None = None) -> None:
        """Have a datagram arrive."""
        data = b"".join(codec.encode(message) for message in messages)
        self.engine.receive_datagram(data, address or address_of(sender), sender, self.now)
        self.drain()

    def push_pull(self, peer: str, claims: Sequence[Claim]) -> None:
        """Have a peer tell claims by push-pull."""
        body = exchange_codec.encode_push_pull(BucketClaims(peer, 0, (), tuple(claims)))
        self.engine.answer_push_pull(body, peer, self.now)
        self.drain()

    def run_until(self, when: float) -> None:
        """Let time pass, each timer handled when it is due."""
        while (at := self.engine.next_timer_at()) is not None and at <= when:
            self.now = max(self.now, at)
            self.engine.handle_timer(self.now)
            self.drain()
        self.now = when

    def run_until_sent(self, kind: type[T], *, within: float = 60.0) -> tuple[Sent, T]:
        """Let time pass until the next message of a kind is sent."""
        limit, seen = self.now + within, len(self.sent)
        while not (found := [one for one in self.sent[seen:] if isinstance(one.message, kind)]):
            at = self.engine.next_timer_at()
            if at is None or at > limit:
                raise TimeoutError(f"no {kind.__name__} within {within} s")
            self.run_until(at)
        message = found[0].message
        assert isinstance(message, kind)  # noqa: S101 - for mypy; found was filtered by it
        return found[0], message

    def drain(self) -> None:
        """Take in what the engine wants done."""
        for datagram in self.engine.datagrams_to_send():
            self.datagrams.append(datagram)
            self.sent.extend(
                Sent(self.now, datagram.target, datagram.to, message)
                for message in codec.decode_datagram_untrusted(datagram.data)
            )
        self.streams.extend(self.engine.streams_to_open())
        self.events.extend(self.engine.events())

    def run_dry(self) -> None:
        """Let time pass until all that is to be gossiped was sent."""
        while self.engine.queue_length:
            self.run_until(self.now + self.config.gossip_interval)

    def forget(self) -> None:
        """Let gossip run dry, and forget what came out so far."""
        self.run_dry()
        self.sent, self.datagrams, self.streams, self.events = [], [], [], []

    def messages_to(self, target: str, kind: type[T]) -> list[T]:
        """Return the messages of a kind sent to a member."""
        return [one.message for one in self.sent if one.target == target and isinstance(one.message, kind)]

    def table_told(self) -> dict[str, Claim]:
        """Return the whole table as a push-pull would tell it."""
        body = exchange_codec.encode_push_pull(BucketHashes((1,)))
        answer = exchange_codec.decode_push_pull_untrusted(self.engine.answer_push_pull(body, "n1", self.now))
        return {claim.name: claim for claim in answer.claims} if isinstance(answer, BucketClaims) else {}

    def state_of(self, name: str) -> MemberState | None:
        """Return what the engine holds of a member."""
        member = self.engine.get(name)
        return None if member is None else member.state
