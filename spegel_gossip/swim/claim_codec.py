"""Claims as bytes, in datagrams and in push-pull bodies alike.

A claim is eleven fields in a row: name, incarnation, state, boot, addresses, zone,
version, oldest and newest wire version, accuser, age. What a later release appends
is kept as it came and passed on: a claim reaches most members through others, and a
field must not be lost because one of those is older.
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import Final

import msgpack

from spegel_gossip.errors import ConfigError, DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.fields import binary, integer, listed, text
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.names import MAX_NAME_BYTES

MAX_TEXT_BYTES: Final = 128
"""Longest zone or version; a Kubernetes label value has at most 63."""
MAX_ADDRESSES: Final = 8
"""Addresses of one member."""
MAX_AGE: Final = 1 << 32
"""Largest age of a tombstone in seconds; those that old are dropped anyway."""
MAX_APPENDED_FIELDS: Final = 16
MAX_APPENDED_BYTES: Final = 256
"""Fields of a later release that are kept for others; more of them are skipped."""
DECODE_FAILURES: Final = (ValueError, TypeError, msgpack.exceptions.UnpackException)
MAX_ITEMS: Final = 64
"""Longest array or map inside a message; fields that are not known count as well."""

CLAIM_FIELDS: Final = 11
CACHED_CLAIMS: Final = 2048
"""Claims that are remembered decoded: gossip brings each some ten times."""
CACHED_CLAIM_BYTES: Final = 512
"""Longest claim that is remembered; a usual one has a hundred bytes."""
CACHED_ADDRESSES: Final = 4096

_PORT = struct.Struct("!H")
_ADDRESS_SIZES = {6, 18}
_WIRE_LIMIT = 1 << 16
_STATE_LIMIT = 1 << 8
_SHORT_ARRAY = 0x90
_SHORT_ARRAY_LIMIT = 16


def check_record(record: MemberRecord) -> None:
    """Refuse a record of our own that others would refuse.

    Raises:
        ConfigError: with what is wrong.
    """
    try:
        packed = pack_claim(Claim(record, record.boot, MemberState.ALIVE))
        claim_untrusted(b"".join((array_header(packed.count), packed.head, pack(0), packed.tail)))
    except DecodeError as exc:
        raise ConfigError(f"the member record of {record.name!r} cannot be sent: {exc}") from exc


class PackedClaim:
    """A claim as it stands on the wire but for its age, which passes."""

    __slots__ = ("count", "head", "tail")

    def __init__(self, head: bytes, tail: bytes, count: int) -> None:
        self.head = head
        self.tail = tail
        self.count = count
        """Fields, the age among them."""

    def fields(self, age: float) -> bytes:
        """Return all fields, without the array's header."""
        return b"".join((self.head, pack(min(int(age), MAX_AGE - 1)), self.tail))


def pack_claim(claim: Claim) -> PackedClaim:
    """Return a claim packed; a table packs once what it tells often."""
    record = claim.record
    head = (
        record.name, claim.incarnation, claim.state.value, record.boot,
        [encode_address(one) for one in record.addresses],
        record.zone, record.version, record.wire_min, record.wire_max, claim.accuser,
    )  # fmt: skip
    # One call for the row, and its header taken away: ten calls take three times as long.
    return PackedClaim(pack(head)[1:], b"".join(record.appended), CLAIM_FIELDS + len(record.appended))


def array_header(count: int) -> bytes:
    """Return the bytes that begin an array."""
    if count < _SHORT_ARRAY_LIMIT:
        return bytes((_SHORT_ARRAY | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


def claim_untrusted(data: bytes) -> Claim | None:
    """Parse a claim that came as an array of its fields; None for a state of a later release.

    Raises:
        DecodeError: it is none.
    """
    return _cached_claim(data) if len(data) <= CACHED_CLAIM_BYTES else _parse_claim(data)


@lru_cache(maxsize=CACHED_CLAIMS)
def _cached_claim(data: bytes) -> Claim | None:
    return _parse_claim(data)


def _parse_claim(data: bytes) -> Claim | None:
    try:
        fields = listed(msgpack.unpackb(data, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS))
    except DECODE_FAILURES as exc:
        raise DecodeError(f"not a claim: {exc}") from exc
    return claim_of_fields_untrusted(fields)


def claim_of_fields_untrusted(fields: list[object]) -> Claim | None:
    """Return the claim that is made of these fields; None for one of a state of a later release.

    Raises:
        DecodeError: they make none.
    """
    if len(fields) < CLAIM_FIELDS:
        raise DecodeError(f"a claim of {len(fields)} fields")
    (name, incarnation, state, boot, addresses, zone, version, wire_min, wire_max, accuser, age) = fields[
        :CLAIM_FIELDS
    ]
    if integer(state, _STATE_LIMIT) >= len(MemberState):
        return None
    record = MemberRecord(
        name=text(name, MAX_NAME_BYTES, least=1),
        boot=integer(boot, INCARNATION_LIMIT),
        addresses=addresses_untrusted(addresses),
        zone=text(zone, MAX_TEXT_BYTES),
        version=text(version, MAX_TEXT_BYTES),
        wire_min=integer(wire_min, _WIRE_LIMIT),
        wire_max=integer(wire_max, _WIRE_LIMIT),
        appended=_appended(fields[CLAIM_FIELDS:]),
    )
    return Claim(
        record,
        integer(incarnation, INCARNATION_LIMIT),
        MemberState(integer(state, len(MemberState))),
        text(accuser, MAX_NAME_BYTES),
        float(integer(age, MAX_AGE)),
    )


def _appended(fields: list[object]) -> tuple[bytes, ...]:
    try:
        packed = tuple(pack(one) for one in fields[:MAX_APPENDED_FIELDS])
    except (ValueError, RecursionError):
        # Nested deeper than msgpack writes, in some of its releases: far longer than is kept.
        return ()
    return packed if sum(map(len, packed)) <= MAX_APPENDED_BYTES else ()


@lru_cache(maxsize=CACHED_ADDRESSES)
def encode_address(address: Address) -> bytes:
    """Return an address as it stands on the wire."""
    return ipaddress.ip_address(address.host).packed + _PORT.pack(address.port)


def addresses_untrusted(raw: object) -> tuple[Address, ...]:
    """Return a member's addresses.

    Raises:
        DecodeError: there is none, or too many, or one is no address.
    """
    packed = listed(raw)
    if not 0 < len(packed) <= MAX_ADDRESSES:
        raise DecodeError(f"a member with {len(packed)} addresses")
    return tuple(_address_untrusted(binary(one)) for one in packed)


@lru_cache(maxsize=CACHED_ADDRESSES)
def _address_untrusted(packed: bytes) -> Address:
    if len(packed) not in _ADDRESS_SIZES:
        raise DecodeError(f"an address of {len(packed)} bytes")
    (port,) = _PORT.unpack(packed[-_PORT.size :])
    host = ipaddress.ip_address(packed[: -_PORT.size])
    if port == 0 or getattr(host, "ipv4_mapped", None) is not None:
        # One address, one spelling: a mapped one would be another key in the table.
        raise DecodeError(f"the address {host} port {port}")
    return Address(str(host), port)


def pack(value: object) -> bytes:
    """Return a value as msgpack."""
    packed: bytes = msgpack.packb(value)
    return packed
