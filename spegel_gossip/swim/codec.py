"""Messages as bytes: msgpack arrays of small integers and strings.

A datagram body is a row of arrays, each one message, its kind in front. A body of
`/gossip/push-pull` is one array. Numbers are only ever appended; unknown trailing
fields and unknown kinds are skipped, because a DaemonSet rolls node by node and two
releases always talk.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import Final

import msgpack

from spegel_gossip.errors import ConfigError, DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import (
    MAX_NOTE_BYTES,
    Ack,
    BucketClaims,
    BucketHashes,
    Message,
    MessageKind,
    Nack,
    Ping,
    PingReq,
    PushPullKind,
)  # fmt: skip

MAX_NAME_BYTES: Final = 253
"""Longest member name: a DNS name."""
MAX_TEXT_BYTES: Final = 128
"""Longest zone or version; a Kubernetes label value has at most 63."""
MAX_ADDRESSES: Final = 8
"""Addresses of one member."""
MAX_AGE: Final = 1 << 32
"""Largest age of a tombstone in seconds; those that old are dropped anyway."""
MAX_BODY_BYTES: Final = 65_507
"""Longest datagram body looked at: the longest UDP payload there is."""
MAX_MESSAGES: Final = 512
"""Messages in one datagram."""
MAX_BUCKETS: Final = 1024
"""Buckets of a push-pull."""
MAX_PUSH_PULL_CLAIMS: Final = 32_768
"""Claims in one push-pull body."""
MAX_PUSH_PULL_BYTES: Final = 16 << 20
"""Longest push-pull body; 16,384 members take some 1.5 MB."""

_HASH = struct.Struct("!Q")
_PORT = struct.Struct("!H")
_ADDRESS_SIZES = {6, 18}
SEQ_LIMIT: Final = 1 << 32
"""Numbers of pings start again here."""
_WIRE_LIMIT = 1 << 16
_STATE_LIMIT = 1 << 8
_CLAIM_FIELDS = 11
_MAX_UNKNOWN_ITEMS = 64
PushPullBody = BucketHashes | BucketClaims

_DECODE_FAILURES = (ValueError, TypeError, msgpack.exceptions.UnpackException)


def check_record(record: MemberRecord) -> None:
    """Refuse a record of our own that others would refuse.

    Raises:
        ConfigError: with what is wrong.
    """
    try:
        _claim_untrusted(_claim_fields(Claim(record, record.boot, MemberState.ALIVE)), 0)
    except DecodeError as exc:
        raise ConfigError(f"the member record of {record.name!r} cannot be sent: {exc}") from exc


def encode(message: Message) -> bytes:
    """Return a message as it stands in a datagram."""
    match message:
        case Ping(seq, incarnation, note):
            return _pack([MessageKind.PING.value, seq, incarnation, note])
        case Ack(seq, incarnation, note):
            return _pack([MessageKind.ACK.value, seq, incarnation, note])
        case Nack(seq):
            return _pack([MessageKind.NACK.value, seq])
        case PingReq(seq, target, addresses):
            return _pack(
                [MessageKind.PING_REQ.value, seq, target, [_encode_address(one) for one in addresses]]
            )
        case Claim():
            return _pack([MessageKind.CLAIM.value, *_claim_fields(message)])


def decode_datagram_untrusted(data: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram, those of unknown kinds left out.

    Raises:
        DecodeError: for every malformed input, and nothing else; messages before
            the fault were yielded.
    """
    if not data or len(data) > MAX_BODY_BYTES:
        raise DecodeError(f"a datagram body of {len(data)} bytes")
    unpacker = _unpacker(data, max_items=_MAX_UNKNOWN_ITEMS)
    end = 0
    for _ in range(MAX_MESSAGES):
        try:
            fields = unpacker.unpack()
        except msgpack.exceptions.OutOfData:
            if end != len(data):
                raise DecodeError("a datagram that ends inside a message") from None
            return
        except _DECODE_FAILURES as exc:
            raise DecodeError(f"not a row of messages: {exc}") from exc
        end = unpacker.tell()
        message = _message_untrusted(fields)
        if message is not None:
            yield message
    raise DecodeError(f"more than {MAX_MESSAGES} messages in a datagram")


def encode_push_pull(body: PushPullBody) -> bytes:
    """Return the body of one of a push-pull's requests, or of its answer."""
    match body:
        case BucketHashes(hashes):
            return _pack([PushPullKind.HASHES.value, b"".join(map(_HASH.pack, hashes))])
        case BucketClaims(name, bucket_count, buckets, claims):
            fields = [_claim_fields(claim) for claim in claims[:MAX_PUSH_PULL_CLAIMS]]
            return _pack([PushPullKind.CLAIMS.value, name, bucket_count, list(buckets), fields])


def decode_push_pull_untrusted(body: bytes) -> PushPullBody:
    """Parse what `encode_push_pull` writes.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    if len(body) > MAX_PUSH_PULL_BYTES:
        raise DecodeError(f"a push-pull body of {len(body)} bytes")
    try:
        fields = _list(_unpacker(body, max_items=MAX_PUSH_PULL_CLAIMS).unpack())
    except _DECODE_FAILURES as exc:
        raise DecodeError(f"not a push-pull body: {exc}") from exc
    match _field(fields, 0):
        case PushPullKind.HASHES:
            return _bucket_hashes_untrusted(_bytes(_field(fields, 1)))
        case PushPullKind.CLAIMS:
            return _bucket_claims_untrusted(fields)
        case kind:
            raise DecodeError(f"a push-pull body of the kind {kind!r:.32}")


def _bucket_hashes_untrusted(hashes: bytes) -> BucketHashes:
    count, rest = divmod(len(hashes), _HASH.size)
    if rest or not 0 < count <= MAX_BUCKETS or count & (count - 1):
        raise DecodeError(f"bucket hashes of {len(hashes)} bytes")
    return BucketHashes(tuple(one for (one,) in _HASH.iter_unpack(hashes)))


def _bucket_claims_untrusted(fields: list[object]) -> BucketClaims:
    count = _integer(_field(fields, 2), MAX_BUCKETS + 1)
    buckets = _list(_field(fields, 3))
    if len(buckets) > count or count & (count - 1):
        raise DecodeError(f"{len(buckets)} buckets of {count}")
    claims = _list(_field(fields, 4))
    return BucketClaims(
        _text(_field(fields, 1), MAX_NAME_BYTES, least=1),
        count,
        tuple(_integer(bucket, count) for bucket in buckets),
        tuple(parsed for claim in claims if (parsed := _claim_untrusted(_list(claim), 0)) is not None),
    )


def _message_untrusted(raw: object) -> Message | None:
    fields = _list(raw)
    match _field(fields, 0):
        case MessageKind.PING:
            return Ping(
                _integer(_field(fields, 1), SEQ_LIMIT),
                _integer(_field(fields, 2), INCARNATION_LIMIT),
                _note(_field(fields, 3)),
            )
        case MessageKind.ACK:
            return Ack(
                _integer(_field(fields, 1), SEQ_LIMIT),
                _integer(_field(fields, 2), INCARNATION_LIMIT),
                _note(_field(fields, 3)),
            )
        case MessageKind.NACK:
            return Nack(_integer(_field(fields, 1), SEQ_LIMIT))
        case MessageKind.PING_REQ:
            return PingReq(
                _integer(_field(fields, 1), SEQ_LIMIT),
                _text(_field(fields, 2), MAX_NAME_BYTES, least=1),
                _addresses_untrusted(_field(fields, 3)),
            )
        case MessageKind.CLAIM:
            return _claim_untrusted(fields, 1)
        case _:
            return None


def _claim_fields(claim: Claim) -> list[object]:
    record = claim.record
    return [
        record.name, claim.incarnation, claim.state.value, record.boot,
        [_encode_address(one) for one in record.addresses],
        record.zone, record.version, record.wire_min, record.wire_max,
        claim.accuser, min(int(claim.age), MAX_AGE - 1),
    ]  # fmt: skip


def _claim_untrusted(fields: list[object], start: int) -> Claim | None:
    """Return the claim; None for one of a state that a later release added."""
    if len(fields) < start + _CLAIM_FIELDS:
        raise DecodeError(f"a claim of {len(fields) - start} fields")
    (name, incarnation, state, boot, addresses, zone, version, wire_min, wire_max, accuser, age) = fields[
        start : start + _CLAIM_FIELDS
    ]
    if _integer(state, _STATE_LIMIT) >= len(MemberState):
        return None
    record = MemberRecord(
        name=_text(name, MAX_NAME_BYTES, least=1),
        boot=_integer(boot, INCARNATION_LIMIT),
        addresses=_addresses_untrusted(addresses),
        zone=_text(zone, MAX_TEXT_BYTES),
        version=_text(version, MAX_TEXT_BYTES),
        wire_min=_integer(wire_min, _WIRE_LIMIT),
        wire_max=_integer(wire_max, _WIRE_LIMIT),
    )
    return Claim(
        record,
        _integer(incarnation, INCARNATION_LIMIT),
        MemberState(_integer(state, len(MemberState))),
        _text(accuser, MAX_NAME_BYTES),
        float(_integer(age, MAX_AGE)),
    )


def _encode_address(address: Address) -> bytes:
    return ipaddress.ip_address(address.host).packed + _PORT.pack(address.port)


def _addresses_untrusted(raw: object) -> tuple[Address, ...]:
    packed = _list(raw)
    if not 0 < len(packed) <= MAX_ADDRESSES:
        raise DecodeError(f"a member with {len(packed)} addresses")
    return tuple(_address_untrusted(one) for one in packed)


def _address_untrusted(raw: object) -> Address:
    packed = _bytes(raw)
    if len(packed) not in _ADDRESS_SIZES:
        raise DecodeError(f"an address of {len(packed)} bytes")
    (port,) = _PORT.unpack(packed[-_PORT.size :])
    host = ipaddress.ip_address(packed[: -_PORT.size])
    if port == 0 or getattr(host, "ipv4_mapped", None) is not None:
        # One address, one spelling: a mapped one would be another key in the table.
        raise DecodeError(f"the address {host} port {port}")
    return Address(str(host), port)


def _unpacker(data: bytes, *, max_items: int) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_PUSH_PULL_BYTES, max_array_len=max_items, max_map_len=_MAX_UNKNOWN_ITEMS
    )
    unpacker.feed(data)
    return unpacker


def _pack(fields: list[object]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def _field(fields: list[object], index: int) -> object:
    if index >= len(fields):
        raise DecodeError(f"a message of {len(fields)} fields")
    return fields[index]


def _list(raw: object) -> list[object]:
    if not isinstance(raw, list):
        raise DecodeError(f"{type(raw).__name__} where an array belongs")
    return raw


def _bytes(raw: object) -> bytes:
    if not isinstance(raw, bytes):
        raise DecodeError(f"{type(raw).__name__} where bytes belong")
    return raw


def _note(raw: object) -> bytes:
    note = _bytes(raw)
    if len(note) > MAX_NOTE_BYTES:
        raise DecodeError(f"a note of {len(note)} bytes")
    return note


def _integer(raw: object, limit: int) -> int:
    # bool is an int to Python, but not on this wire.
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw < limit:
        raise DecodeError(f"{raw!r:.32} where an integer below {limit} belongs")
    return raw


def _text(raw: object, most: int, *, least: int = 0) -> str:
    if not isinstance(raw, str) or not least <= len(raw.encode()) <= most or not raw.isprintable():
        # Names go to terminals and logs: no control characters.
        raise DecodeError(f"{raw!r:.32} where printable text of {least}-{most} bytes belongs")
    return raw
