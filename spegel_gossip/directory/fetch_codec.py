"""Fetch messages as bytes: one msgpack array each, kind and id in front, as in `codec`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

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
from spegel_gossip.directory.fields import array, pack, packed_key, uint
from spegel_gossip.directory.records import MAX_U64
from spegel_gossip.errors import DecodeError

MAX_FETCH_BYTES: Final = 4_096
"""Longest message looked at; they are all made to fit into a datagram."""

_MAX_SMALL = 0xFFFF
_MAX_FIELDS = 64
_FLAG_MUST_DECIDE = 1
_FLAG_URGENT = 2
_FLAG_ASKER_CROWDED = 4
_FLAG_BLIND = 8
_FLAG_GIVES_WAY = 16
_FLAG_CROWDED = 1
_FLAG_SPARE = 1
_FIRST_BYTE_OF_ARRAY = 0x90
_DECODE_FAILURES = (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException)


def is_fetch_message(data: bytes) -> bool:
    """Return whether a directory message is one of these, by its first two bytes."""
    return len(data) > 1 and data[0] & 0xF0 == _FIRST_BYTE_OF_ARRAY and data[1] in _DECODERS


def encode_fetch(message: FetchMessage) -> bytes:
    """Return a message as it stands in a datagram or a request body."""
    match message:
        case FetchAsk():
            fields: list[object] = [message.key, message.view, message.offset, message.total, _flags(message)]
            fields += [list(message.failed), list(message.stalled), message.burden, list(message.busy)]
            fields += [message.together, list(message.stalled_ms)]
            return pack(FetchKind.ASK, message.id, fields)
        case FetchTold():
            flags = _FLAG_CROWDED * message.is_crowded
            numbers = [message.size, message.token, message.stamp, message.depth, flags]
            return pack(FetchKind.TOLD, message.id, [message.verdict, list(message.sources), *numbers])
        case Progress():
            items = [
                [one.key, one.token, one.offset, one.total, int(one.state), one.parent]
                for one in message.items
            ]
            line = [message.uplink, _FLAG_SPARE * message.has_spare]
            return pack(
                FetchKind.PROGRESS, message.id, [message.sharing, int(message.is_growing), items, *line]
            )


def _flags(ask: FetchAsk) -> int:
    return (
        _FLAG_MUST_DECIDE * ask.must_decide
        | _FLAG_URGENT * ask.is_urgent
        | _FLAG_ASKER_CROWDED * ask.is_crowded
        | _FLAG_BLIND * ask.is_blind
        | _FLAG_GIVES_WAY * ask.gives_way
    )


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
    fields = array(unpacked, at_least=2, at_most=_MAX_FIELDS)
    return _DECODERS[uint(fields[0], _MAX_SMALL)](uint(fields[1], MAX_U64), fields[2:])


def _decode_ask(id_: int, fields: Sequence[object]) -> FetchMessage:
    key, view, offset, total, flags, failed, stalled, *more = array(fields, at_least=7, at_most=_MAX_FIELDS)
    said = uint(flags, _MAX_SMALL)
    return FetchAsk(
        id_,
        packed_key(key),
        uint(view, MAX_U64),
        uint(offset, MAX_U64),
        uint(total, MAX_U64),
        must_decide=bool(said & _FLAG_MUST_DECIDE),
        is_urgent=bool(said & _FLAG_URGENT),
        failed=_numbers(failed, MAX_FAILED_TOLD),
        stalled=_numbers(stalled, MAX_FAILED_TOLD),
        burden=uint(more[0], _MAX_SMALL) if more else 0,
        is_crowded=bool(said & _FLAG_ASKER_CROWDED),
        is_blind=bool(said & _FLAG_BLIND),
        busy=_numbers(more[1], MAX_FAILED_TOLD) if len(more) > 1 else (),
        together=uint(more[2], MAX_U64) if len(more) > 2 else 0,
        stalled_ms=_numbers(more[3], MAX_FAILED_TOLD) if len(more) > 3 else (),
        gives_way=bool(said & _FLAG_GIVES_WAY),
    )


def _decode_told(id_: int, fields: Sequence[object]) -> FetchMessage:
    verdict, sources, size, token, stamp, depth, *more = array(fields, at_least=6, at_most=_MAX_FIELDS)
    return FetchTold(
        id_,
        uint(verdict, _MAX_SMALL),
        _numbers(sources, MAX_SOURCES_TOLD),
        size=uint(size, MAX_U64),
        token=uint(token, MAX_U64),
        stamp=uint(stamp, MAX_U64),
        depth=uint(depth, MAX_U64),
        is_crowded=bool(uint(more[0], _MAX_SMALL) & _FLAG_CROWDED) if more else False,
    )


def _decode_progress(id_: int, fields: Sequence[object]) -> FetchMessage:
    sharing, is_growing, items, *more = array(fields, at_least=3, at_most=_MAX_FIELDS)
    uplink, flags = more[:2] if len(more) > 1 else (0, 0)
    told = []
    for one in array(items, at_most=MAX_PROGRESS_ITEMS):
        key, token, offset, total, state, *parent = array(one, at_least=5, at_most=_MAX_FIELDS)
        told.append(
            ProgressItem(
                packed_key(key),
                token=uint(token, MAX_U64),
                offset=uint(offset, MAX_U64),
                total=uint(total, MAX_U64),
                state=uint(state, _MAX_SMALL),
                parent=uint(parent[0], MAX_U64) if parent else 0,
            )
        )
    return Progress(
        id_,
        uint(sharing, _MAX_SMALL),
        bool(uint(is_growing, _MAX_SMALL)),
        tuple(told),
        uint(uplink, MAX_U64),
        has_spare=bool(uint(flags, _MAX_SMALL) & _FLAG_SPARE),
    )


_DECODERS: Final[dict[int, Callable[[int, Sequence[object]], FetchMessage]]] = {
    FetchKind.ASK: _decode_ask,
    FetchKind.TOLD: _decode_told,
    FetchKind.PROGRESS: _decode_progress,
}


def _numbers(value: object, at_most: int) -> tuple[int, ...]:
    return tuple(uint(one, MAX_U64) for one in array(value, at_most=at_most))
