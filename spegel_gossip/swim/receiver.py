"""What to do with a datagram."""

from __future__ import annotations

from collections.abc import Sequence

from spegel_gossip.swim import codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.courier import Courier
from spegel_gossip.swim.events import NoteReceived
from spegel_gossip.swim.exchanges import Exchanges
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ack, Message, Nack, Ping, PingReq
from spegel_gossip.swim.outbox import Outbox
from spegel_gossip.swim.prober import Prober
from spegel_gossip.swim.relays import Relays
from spegel_gossip.swim.view import View


class Receiver:
    """Hands each message of a datagram to the part that it concerns."""

    def __init__(
        self, view: View, courier: Courier, prober: Prober, relays: Relays, exchanges: Exchanges,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        self._view = view
        self._courier = courier
        self._prober = prober
        self._relays = relays
        self._exchanges = exchanges
        self._outbox = outbox

    def receive(self, data: bytes, sender: Address, sender_name: str, now: float) -> None:
        """Take in a datagram body.

        Raises:
            DecodeError: it is malformed; what stood before the fault was taken in.
        """
        entry = self._view.table.get(sender_name)
        if entry is not None:
            entry.spoke_from(sender)
        messages: list[Message] = []
        try:
            messages.extend(codec.decode_datagram_untrusted(data))
        finally:
            # Claims first: the ack then brings the refutation of what the ping accused
            # us of, and a sender that introduces itself is known by the time we answer.
            self._hear([one for one in messages if isinstance(one, Claim)], sender, sender_name, now)
            for message in messages:
                self._answer(message, sender, sender_name, now)

    def receive_from_namesake(self, data: bytes, now: float) -> None:
        """Take in a datagram whose sender bears our own name; one of our own says nothing new.

        Raises:
            DecodeError: it is malformed.
        """
        for message in codec.decode_datagram_untrusted(data):
            if isinstance(message, Claim):
                self._view.hear_namesake(message, now)

    def _hear(self, claims: Sequence[Claim], sender: Address, sender_name: str, now: float) -> None:
        heard = [self._view.hear(claim, now) for claim in claims]
        corrections = [claim for claim in heard if claim is not None]
        self._courier.correct(corrections, to=sender, target=sender_name)

    def _answer(self, message: Message, sender: Address, sender_name: str, now: float) -> None:
        match message:
            case Ping(seq, incarnation, note):
                self._heard_directly(sender_name, incarnation, note, sender, now)
                self._courier.ack(seq, to=sender, target=sender_name, now=now)
            case Ack(seq, incarnation, note, time_ms):
                self._heard_directly(sender_name, incarnation, note, sender, now)
                self._prober.acked(seq, sender_name, time_ms, now)
                self._relays.acked(seq, sender_name, now)
            case Nack(seq):
                self._prober.nacked(seq)
            case PingReq():
                self._relays.asked(message, sender_name, sender, now)
            case Claim():
                pass  # heard before

    def _heard_directly(self, name: str, incarnation: int, note: bytes, address: Address, now: float) -> None:
        entry = self._view.table.get(name)
        if entry is None or entry.state is MemberState.DEAD or entry.member.incarnation != incarnation:
            # Our table says something else of the sender than it does itself, and
            # perhaps of others as well.
            self._exchanges.meet(name, address, now)
        if note and self._view.table.is_live_other(name):
            self._outbox.tell(NoteReceived(name, note))
