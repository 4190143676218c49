"""The little of DNS (RFC 1035, RFC 2782) that SRV records need: one question, and its answer.

The C library's resolver, which does everything else here, cannot be asked for them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from spegel_gossip.errors import DecodeError

MAX_RECORDS: Final = 4096
"""Records of an answer that are looked at: one for each member of the largest cluster."""

_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_SRV_DATA: Final = struct.Struct("!HHH")
_SRV: Final = 33
_IN: Final = 1
_RECURSION_DESIRED: Final = 0x0100
_RESPONSE: Final = 0x8000
_TRUNCATED: Final = 0x0200
_CODE: Final = 0x000F
_MAX_LABEL: Final = 63
_MAX_POINTERS: Final = 64
"""More in one name than any server writes; a loop has no end."""


@dataclass(frozen=True, slots=True)
class SrvTarget:
    """One SRV record: where a service is. Priority and weight mean nothing among equals."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SrvAnswer:
    """What a server said."""

    code: int
    """0 is well; 3 says that there is no such name."""

    is_truncated: bool
    """It did not fit into a datagram: ask again over TCP."""

    targets: tuple[SrvTarget, ...]


def encode_question(number: int, name: str) -> bytes:
    """Return the question for the SRV records of a name.

    Raises:
        ValueError: a label is empty or too long.
    """
    labels = name.removesuffix(".").split(".")
    encoded = [label.encode("ascii") for label in labels]
    if not all(0 < len(label) <= _MAX_LABEL for label in encoded):
        raise ValueError(f"{name} is no DNS name")
    question = b"".join(bytes([len(label)]) + label for label in encoded) + b"\0"
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + question + struct.pack("!HH", _SRV, _IN)


def decode_answer_untrusted(data: bytes, number: int) -> SrvAnswer:
    """Parse the answer to question `number`.

    Raises:
        DecodeError: it is none, or malformed.
    """
    try:
        found, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
        if found != number or not flags & _RESPONSE:
            raise DecodeError("not the answer to this question")
        offset = _HEADER.size
        for _ in range(min(questions, 1)):
            _, offset = _name(data, offset)
            offset += 4
        targets: list[SrvTarget] = []
        for _ in range(min(answers, MAX_RECORDS)):
            _, offset = _name(data, offset)
            kind, family, _, length = _RECORD.unpack_from(data, offset)
            offset += _RECORD.size
            if (kind, family) == (_SRV, _IN):
                _, _, port = _SRV_DATA.unpack_from(data, offset)
                host, _ = _name(data, offset + _SRV_DATA.size)
                if host and port:
                    targets.append(SrvTarget(host, port))
            offset += length
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        if isinstance(exc, struct.error) and len(data) >= _HEADER.size and _flags(data) & _TRUNCATED:
            # Cut off in the middle of a record, as some servers do.
            return SrvAnswer(_flags(data) & _CODE, True, ())
        raise DecodeError(f"malformed DNS answer: {exc}") from exc
    return SrvAnswer(flags & _CODE, bool(flags & _TRUNCATED), tuple(targets))


def _flags(data: bytes) -> int:
    flags: int = _HEADER.unpack_from(data)[1]
    return flags


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """Return the name at `offset`, and where what follows it begins."""
    labels: list[str] = []
    after = -1
    pointers = 0
    while length := data[offset]:
        if length & 0xC0 == 0xC0:
            after = offset + 2 if after < 0 else after
            pointers += 1
            if pointers > _MAX_POINTERS:
                raise DecodeError("a name in a DNS answer has no end")
            offset = (length & 0x3F) << 8 | data[offset + 1]
            continue
        label = data[offset + 1 : offset + 1 + length]
        if length & 0xC0 or len(label) < length:
            raise DecodeError("a label in a DNS answer is cut off")
        labels.append(label.decode("ascii"))
        offset += 1 + length
    return ".".join(labels), offset + 1 if after < 0 else after
