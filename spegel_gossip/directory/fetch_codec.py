"""Fetch messages as bytes: one msgpack array each, kind and id in front, as in `codec`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

import msgpack

from spegel_gossip.directory.fetch_messages import (
    MAX_FAILED_TOLD,
    MAX_PROGRESS_ITEMS,
    MAX_SOURCES_TOLD,
    FetchAsk,
    FetchKind,
    FetchMessage,
    FetchTold,
    Progress,
    ProgressItem,
)
from spegel_gossip.directory.keys import MAX_PACKED_KEY, MIN_PACKED_KEY, PackedKey
from spegel_gossip.directory.records import MAX_U64
from spegel_gossip.errors import DecodeError

MAX_FETCH_BYTES: Final = 4_096
"""Longest message looked at; they are all made to fit into a datagram."""

_MAX_SMALL = 0xFFFF
_FLAG_MUST_DECIDE = 1
_FLAG_URGENT = 2
_FIRST_BYTE_OF_ARRAY = 0x90
_DECODE_FAILURES = (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException)


def is_fetch_message(data: bytes) -> bool:
    """Return whether a directory message is one of these, by its first two bytes."""
    return len(data) > 1 and data[0] & 0xF0 == _FIRST_BYTE_OF_ARRAY and data[1] in _DECODERS


def encode_fetch(message: FetchMessage) -> bytes:
    """Return a message as it stands in a datagram or a request body."""
    match message:
        case FetchAsk():
            flags = _FLAG_MUST_DECIDE * message.must_decide | _FLAG_URGENT * message.is_urgent
            fields: list[object] = [message.key, message.view, message.offset, message.total, flags]
            return _pack(FetchKind.ASK, message.id, [*fields, list(message.failed), list(message.stalled)])
        case FetchTold():
            numbers = [message.size, message.token, message.stamp, message.depth]
            return _pack(FetchKind.TOLD, message.id, [message.verdict, list(message.sources), *numbers])
        case Progress():
            items = [[one.key, one.token, one.offset, one.total, int(one.state)] for one in message.items]
            return _pack(FetchKind.PROGRESS, message.id, [message.byteless, int(message.is_growing), items])


def decode_fetch_untrusted(data: bytes) -> FetchMessage:
    """Parse a message that came from the network.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    if not is_fetch_message(data) or len(data) > MAX_FETCH_BYTES:
        raise DecodeError(f"not a fetch message: {len(data)} bytes")
    try:
        unpacked = msgpack.unpackb(data, max_ext_len=0)
    except _DECODE_FAILURES as exc:
        raise DecodeError(f"not a fetch message: {exc}") from exc
    fields = _array(unpacked, at_least=2)
    return _DECODERS[_uint(fields[0], _MAX_SMALL)](_uint(fields[1], MAX_U64), fields[2:])


def _decode_ask(id_: int, fields: Sequence[object]) -> FetchMessage:
    key, view, offset, total, flags, failed, stalled, *_ = _array(fields, at_least=7)
    said = _uint(flags, _MAX_SMALL)
    return FetchAsk(
        id_,
        _key(key),
        _uint(view, MAX_U64),
        _uint(offset, MAX_U64),
        _uint(total, MAX_U64),
        must_decide=bool(said & _FLAG_MUST_DECIDE),
        is_urgent=bool(said & _FLAG_URGENT),
        failed=_hashes(failed, MAX_FAILED_TOLD),
        stalled=_hashes(stalled, MAX_FAILED_TOLD),
    )


def _decode_told(id_: int, fields: Sequence[object]) -> FetchMessage:
    verdict, sources, size, token, stamp, depth, *_ = _array(fields, at_least=6)
    return FetchTold(
        id_,
        _uint(verdict, _MAX_SMALL),
        _hashes(sources, MAX_SOURCES_TOLD),
        *(_uint(one, MAX_U64) for one in (size, token, stamp, depth)),
    )


def _decode_progress(id_: int, fields: Sequence[object]) -> FetchMessage:
    byteless, is_growing, items, *_ = _array(fields, at_least=3)
    told = []
    for one in _array(items, at_most=MAX_PROGRESS_ITEMS):
        key, token, offset, total, state, *_ = _array(one, at_least=5)
        told.append(
            ProgressItem(
                _key(key),
                token=_uint(token, MAX_U64),
                offset=_uint(offset, MAX_U64),
                total=_uint(total, MAX_U64),
                state=_uint(state, _MAX_SMALL),
            )
        )
    return Progress(id_, _uint(byteless, _MAX_SMALL), bool(_uint(is_growing, _MAX_SMALL)), tuple(told))


_DECODERS: Final[dict[int, Callable[[int, Sequence[object]], FetchMessage]]] = {
    FetchKind.ASK: _decode_ask,
    FetchKind.TOLD: _decode_told,
    FetchKind.PROGRESS: _decode_progress,
}


def _pack(kind: FetchKind, id_: int, fields: Sequence[object]) -> bytes:
    return cast("bytes", msgpack.packb([kind.value, id_, *fields]))


def _hashes(value: object, at_most: int) -> tuple[int, ...]:
    return tuple(_uint(one, MAX_U64) for one in _array(value, at_most=at_most))


def _array(value: object, *, at_least: int = 0, at_most: int = 64) -> Sequence[object]:
    if not isinstance(value, list):
        raise DecodeError(f"expected an array, got {type(value).__name__}")
    if not at_least <= len(value) <= at_most:
        raise DecodeError(f"an array of {len(value)}, expected {at_least} to {at_most}")
    return value


def _uint(value: object, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise DecodeError(f"expected an integer of 0 to {limit}")
    return value


def _key(value: object) -> PackedKey:
    if not isinstance(value, bytes) or not MIN_PACKED_KEY <= len(value) <= MAX_PACKED_KEY:
        raise DecodeError("expected a packed key")
    return PackedKey(value)
