"""Messages as bytes: msgpack arrays of small integers and strings.

A datagram body is a row of arrays, each one message, its kind in front. Numbers are
only ever appended; unknown trailing fields and unknown kinds are skipped, because a
DaemonSet rolls node by node and two releases always talk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgpack

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.claim_codec import (
    DECODE_FAILURES,
    MAX_ITEMS,
    PackedClaim,
    addresses_untrusted,
    array_header,
    claim_of_fields_untrusted,
    claim_untrusted,
    encode_address,
    pack,
    pack_claim,
)
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.fields import binary, field, integer, listed, text
from spegel_gossip.swim.messages import (
    MAX_NOTE_BYTES,
    Ack,
    Message,
    MessageKind,
    Nack,
    Ping,
    PingReq,
)
from spegel_gossip.swim.names import MAX_NAME_BYTES

MAX_BODY_BYTES: Final = 65_507
"""Longest datagram body looked at: the longest UDP payload there is."""
MAX_MESSAGES: Final = 512
"""Messages in one datagram."""
SEQ_LIMIT: Final = 1 << 32
"""Numbers of pings start again here."""
TIME_LIMIT: Final = 1 << 53
"""Times in milliseconds end here: what a float still holds exactly."""

_CLAIM_KIND = pack(MessageKind.CLAIM.value)
_SHORT_ARRAY, _SHORT_ARRAY_LIMIT = 0x90, 0xA0


def encode(message: Message) -> bytes:
    """Return a message as it stands in a datagram."""
    match message:
        case Ping(seq, incarnation, note):
            return pack([MessageKind.PING.value, seq, incarnation, note])
        case Ack(seq, incarnation, note, 0):
            return pack([MessageKind.ACK.value, seq, incarnation, note])
        case Ack(seq, incarnation, note, time_ms):
            return pack([MessageKind.ACK.value, seq, incarnation, note, time_ms])
        case Nack(seq):
            return pack([MessageKind.NACK.value, seq])
        case PingReq(seq, target, addresses):
            return pack([MessageKind.PING_REQ.value, seq, target, [encode_address(one) for one in addresses]])
        case Claim():
            return encode_packed_claim(pack_claim(message), message.age)


def encode_packed_claim(claim: PackedClaim, age: float) -> bytes:
    """Return a claim that is packed already as it stands in a datagram."""
    return array_header(1 + claim.count) + _CLAIM_KIND + claim.fields(age)


def decode_datagram_untrusted(data: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram, those of unknown kinds left out.

    Raises:
        DecodeError: for every malformed input, and nothing else; messages before
            the fault were yielded.
    """
    if not data or len(data) > MAX_BODY_BYTES:
        raise DecodeError(f"a datagram body of {len(data)} bytes")
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_BODY_BYTES, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS
    )
    unpacker.feed(data)
    end = 0
    for _ in range(MAX_MESSAGES):
        start = end
        try:
            unpacker.skip()
        except msgpack.exceptions.OutOfData:
            if end != len(data):
                raise DecodeError("a datagram that ends inside a message") from None
            return
        except DECODE_FAILURES as exc:
            raise DecodeError(f"not a row of messages: {exc}") from exc
        end = unpacker.tell()
        message = _message_untrusted(data[start:end])
        if message is not None:
            yield message
    raise DecodeError(f"more than {MAX_MESSAGES} messages in a datagram")


def _message_untrusted(data: bytes) -> Message | None:
    if _SHORT_ARRAY < data[0] < _SHORT_ARRAY_LIMIT and data[1] == MessageKind.CLAIM:
        # The common claim, of which gossip brings many copies: decoded once.
        return claim_untrusted(array_header((data[0] & 0x0F) - 1) + data[2:])
    try:
        fields = listed(msgpack.unpackb(data, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS))
    except DECODE_FAILURES as exc:
        raise DecodeError(f"not a message: {exc}") from exc
    match field(fields, 0):
        case MessageKind.PING:
            return Ping(
                integer(field(fields, 1), SEQ_LIMIT),
                integer(field(fields, 2), INCARNATION_LIMIT),
                _note(field(fields, 3)),
            )
        case MessageKind.ACK:
            return Ack(
                integer(field(fields, 1), SEQ_LIMIT),
                integer(field(fields, 2), INCARNATION_LIMIT),
                _note(field(fields, 3)),
                # Appended: the first release did not send it.
                integer(fields[4], TIME_LIMIT) if len(fields) > 4 else 0,
            )
        case MessageKind.NACK:
            return Nack(integer(field(fields, 1), SEQ_LIMIT))
        case MessageKind.PING_REQ:
            return PingReq(
                integer(field(fields, 1), SEQ_LIMIT),
                text(field(fields, 2), MAX_NAME_BYTES, least=1),
                addresses_untrusted(field(fields, 3)),
            )
        case MessageKind.CLAIM:
            return claim_of_fields_untrusted(fields[1:])
        case _:
            return None


def _note(raw: object) -> bytes:
    note = binary(raw)
    if len(note) > MAX_NOTE_BYTES:
        raise DecodeError(f"a note of {len(note)} bytes")
    return note
