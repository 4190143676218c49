"""Directory messages as bytes: one msgpack array each, kind and id in front.

The same bytes travel in a datagram and as the body of `POST /directory/batch`.
Numbers are only ever appended; unknown trailing fields and unknown kinds are
skipped, because a DaemonSet rolls node by node and two releases always talk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgpack

from spegel_gossip.directory.fields import array, pack, packed_key, uint
from spegel_gossip.directory.messages import (
    MAX_ARRIVALS_TOLD,
    MAX_HOLDERS_ANSWERED,
    MAX_NAMING_HOLDERS,
    MAX_NAMINGS,
    MAX_PURGES_TOLD,
    MAX_QUESTION_KEYS,
    Ack,
    Advertise,
    Answer,
    Arrival,
    Closing,
    KeyAnswer,
    Message,
    MessageKind,
    Miss,
    Naming,
    Purge,
    PurgeItem,
    Question,
    QuestionKey,
    Recheck,
    Resync,
    Spreading,
)
from spegel_gossip.directory.records import MAX_U64, Record, Summary
from spegel_gossip.errors import DecodeError

MAX_MESSAGE_BYTES: Final = 1 << 20
"""Longest message looked at."""

MAX_BATCH_RECORDS: Final = 4_096
"""Records in one advertisement: some 200 kB of digests."""

MAX_BATCH_BYTES: Final = 512 << 10
"""Bytes of records in one advertisement, where tags with long names fill it first."""

RECORD_OVERHEAD: Final = 32
"""Bytes that a record needs besides its key and digest, at most: numbers and msgpack's marks."""

ADVERTISE_OVERHEAD: Final = 80
"""Bytes that an advertisement needs besides its records, at most: numbers, a closing, msgpack's marks."""

_MAX_KIND = 0xFF
_MAX_U32 = 0xFFFFFFFF
_FLAG_YOUNG = 1
_FLAG_SAME_VIEW = 2
_HASH_BYTES = 8
_EXPLAINED_FIELDS = 8
"""Fields of an answer that explains, but one."""
_DECODE_FAILURES = (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException)


def encode(message: Message) -> bytes:
    """Return a message as it stands in a datagram or a request body."""
    match message:
        case Advertise(id_, boot, round_, records, closing):
            last = None if closing is None else _closing_fields(closing)
            fields = [boot, round_, [_record_fields(record) for record in records], last]
            return pack(MessageKind.ADVERTISE, id_, fields)
        case Ack(id_, status):
            return pack(MessageKind.ACK, id_, [status])
        case Resync(id_, boot):
            return pack(MessageKind.RESYNC, id_, [boot])
        case Question(id_, purpose, keys):
            return pack(MessageKind.QUESTION, id_, [purpose, [[asked.key, asked.view] for asked in keys]])
        case Answer(id_, epoch, answers):
            return pack(MessageKind.ANSWER, id_, [epoch, [_answer_fields(answer) for answer in answers]])
        case Miss(id_, key, holder):
            return pack(MessageKind.MISS, id_, [key, holder])
        case Recheck(id_, key):
            return pack(MessageKind.RECHECK, id_, [key])
        case Purge(id_, items):
            return pack(MessageKind.PURGE, id_, [[[item.key, item.at_ms] for item in items]])


def encode_answer_within(answer: Answer, max_bytes: int) -> bytes:
    """Return an answer in at most `max_bytes`, naming fewer holders of each key if it must.

    Holders come best first, so those that are left out are the least wanted. If
    that is not enough, the last keys go unanswered: a question may be made to have an
    answer of any length.
    """
    limit = MAX_HOLDERS_ANSWERED
    encoded = encode(answer)
    while len(encoded) > max_bytes and limit > 1:
        limit //= 2
        answer = replace(answer, answers=tuple(_naming_fewer(one, limit) for one in answer.answers))
        encoded = encode(answer)
    while len(encoded) > max_bytes and answer.answers:
        answer = replace(answer, answers=answer.answers[:-1])
        encoded = encode(answer)
    return encoded


def _naming_fewer(one: KeyAnswer, limit: int) -> KeyAnswer:
    return replace(
        one,
        holders=one.holders[:limit],
        partials=one.partials[:limit],
        namings=tuple(replace(each, holders=each.holders[:limit]) for each in one.namings[:limit]),
        hidden=one.hidden[:limit],
        spreading=None
        if one.spreading is None
        else replace(one.spreading, arrivals=one.spreading.arrivals[:limit]),
    )


def record_bytes(record: Record) -> int:
    """Return how many bytes a record takes in an advertisement, at most."""
    return RECORD_OVERHEAD + len(record.key) + (0 if record.digest is None else len(record.digest))


def decode_untrusted(data: bytes) -> Message | None:
    """Parse a message that came from the network; None for a kind of a later release.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    if not data or len(data) > MAX_MESSAGE_BYTES:
        raise DecodeError(f"a directory message of {len(data)} bytes")
    try:
        unpacked = msgpack.unpackb(data, max_ext_len=0)
    except _DECODE_FAILURES as exc:
        raise DecodeError(f"not a directory message: {exc}") from exc
    fields = array(unpacked, at_least=2)
    kind, id_ = uint(fields[0], _MAX_KIND), uint(fields[1], MAX_U64)
    decoder = _DECODERS.get(kind)
    return None if decoder is None else decoder(id_, fields[2:])


def _decode_advertise(id_: int, fields: Sequence[object]) -> Message:
    boot, round_, records, closing, *_ = array(fields, at_least=4)
    packed = array(records, at_most=MAX_BATCH_RECORDS)
    return Advertise(
        id_,
        uint(boot, MAX_U64),
        uint(round_, _MAX_U32),
        tuple(_record(one) for one in packed),
        None if closing is None else _closing(closing),
    )


def _decode_ack(id_: int, fields: Sequence[object]) -> Message:
    return Ack(id_, uint(array(fields, at_least=1)[0], _MAX_KIND))


def _decode_resync(id_: int, fields: Sequence[object]) -> Message:
    return Resync(id_, uint(array(fields, at_least=1)[0], MAX_U64))


def _decode_question(id_: int, fields: Sequence[object]) -> Message:
    purpose, keys, *_ = array(fields, at_least=2)
    asked = []
    for one in array(keys, at_most=MAX_QUESTION_KEYS):
        key, view, *_ = array(one, at_least=2)
        asked.append(QuestionKey(packed_key(key), uint(view, MAX_U64)))
    return Question(id_, uint(purpose, _MAX_KIND), tuple(asked))


def _decode_answer(id_: int, fields: Sequence[object]) -> Message:
    epoch, answers, *_ = array(fields, at_least=2)
    decoded = tuple(_key_answer(one) for one in array(answers, at_most=MAX_QUESTION_KEYS))
    return Answer(id_, uint(epoch, MAX_U64), decoded)


def _decode_miss(id_: int, fields: Sequence[object]) -> Message:
    key, holder, *_ = array(fields, at_least=2)
    return Miss(id_, packed_key(key), uint(holder, MAX_U64))


def _decode_recheck(id_: int, fields: Sequence[object]) -> Message:
    return Recheck(id_, packed_key(array(fields, at_least=1)[0]))


def _decode_purge(id_: int, fields: Sequence[object]) -> Message:
    items = []
    for one in array(array(fields, at_least=1)[0], at_most=MAX_PURGES_TOLD):
        key, at_ms, *_ = array(one, at_least=2)
        items.append(PurgeItem(packed_key(key), uint(at_ms, MAX_U64)))
    return Purge(id_, tuple(items))


_DECODERS: Final[dict[int, Callable[[int, Sequence[object]], Message]]] = {
    MessageKind.ADVERTISE: _decode_advertise,
    MessageKind.ACK: _decode_ack,
    MessageKind.RESYNC: _decode_resync,
    MessageKind.QUESTION: _decode_question,
    MessageKind.ANSWER: _decode_answer,
    MessageKind.MISS: _decode_miss,
    MessageKind.RECHECK: _decode_recheck,
    MessageKind.PURGE: _decode_purge,
}


def _record_fields(record: Record) -> list[object]:
    fields: list[object] = [record.key, record.kind, record.sequence, record.size]
    if record.digest is not None:
        fields += [record.digest, record.observed_at_ms]
    return fields


def _record(value: object) -> Record:
    fields = array(value, at_least=4)
    digest = packed_key(fields[4]) if len(fields) > 5 and fields[4] is not None else None
    return Record(
        packed_key(fields[0]),
        uint(fields[1], _MAX_KIND),
        uint(fields[2], MAX_U64),
        uint(fields[3], MAX_U64),
        digest,
        0 if digest is None else uint(fields[5], MAX_U64),
    )


def _closing_fields(closing: Closing) -> list[object]:
    return [closing.epoch, closing.summary.count, closing.summary.xor, closing.last_sequence]


def _closing(value: object) -> Closing:
    epoch, count, xor, last, *_ = array(value, at_least=4)
    summary = Summary(uint(count, _MAX_U32), uint(xor, MAX_U64))
    return Closing(uint(epoch, MAX_U64), summary, uint(last, MAX_U64))


def _answer_fields(answer: KeyAnswer) -> list[object]:
    flags = (_FLAG_YOUNG if answer.is_young else 0) | (_FLAG_SAME_VIEW if answer.has_same_view else 0)
    fields: list[object] = [flags, _pack_hashes(answer.holders), _pack_hashes(answer.partials), answer.size]
    is_explained = bool(answer.namings or answer.hidden or answer.purged_at_ms or answer.spreading)
    if answer.digest is not None or is_explained:
        fields += [answer.digest, answer.observed_at_ms]
    if is_explained:
        namings = [[one.digest, one.observed_at_ms, _pack_hashes(one.holders)] for one in answer.namings]
        fields += [namings, _pack_hashes(answer.hidden), answer.purged_at_ms]
    if answer.spreading is not None:
        fields.append(_spreading_fields(answer.spreading))
    return fields


def _key_answer(value: object) -> KeyAnswer:
    fields = array(value, at_least=4)
    flags = uint(fields[0], MAX_U64)
    digest = packed_key(fields[4]) if len(fields) > 5 and fields[4] is not None else None
    return KeyAnswer(
        is_young=bool(flags & _FLAG_YOUNG),
        has_same_view=bool(flags & _FLAG_SAME_VIEW),
        holders=_unpack_hashes(fields[1]),
        partials=_unpack_hashes(fields[2]),
        size=uint(fields[3], MAX_U64),
        digest=digest,
        observed_at_ms=0 if digest is None else uint(fields[5], MAX_U64),
        namings=_namings(fields[6]) if len(fields) > _EXPLAINED_FIELDS else (),
        hidden=_unpack_hashes(fields[7]) if len(fields) > _EXPLAINED_FIELDS else (),
        purged_at_ms=uint(fields[8], MAX_U64) if len(fields) > _EXPLAINED_FIELDS else 0,
        spreading=_spreading(fields[9]) if len(fields) > _EXPLAINED_FIELDS + 1 else None,
    )


def _namings(value: object) -> tuple[Naming, ...]:
    namings = []
    for one in array(value, at_most=MAX_NAMINGS):
        digest, observed_at_ms, holders, *_ = array(one, at_least=3)
        hashes = _unpack_hashes(holders)[:MAX_NAMING_HOLDERS]
        namings.append(Naming(packed_key(digest), uint(observed_at_ms, MAX_U64), hashes))
    return tuple(namings)


def _spreading_fields(spreading: Spreading) -> list[object]:
    arrivals = [
        [one.holder, one.offset, one.total, one.lease_age_ms, one.parent] for one in spreading.arrivals
    ]
    return [arrivals, spreading.receivers, spreading.waiting, spreading.refused_ms]


def _spreading(value: object) -> Spreading:
    packed, receivers, waiting, refused_ms, *_ = array(value, at_least=4)
    arrivals = []
    for one in array(packed, at_most=MAX_ARRIVALS_TOLD):
        holder, offset, total, age_ms, parent, *_ = array(one, at_least=5)
        arrivals.append(
            Arrival(
                uint(holder, MAX_U64),
                uint(offset, MAX_U64),
                uint(total, MAX_U64),
                None if age_ms is None else uint(age_ms, MAX_U64),
                uint(parent, MAX_U64),
            )
        )
    counts = (uint(one, MAX_U64) for one in (receivers, waiting, refused_ms))
    return Spreading(tuple(arrivals), *counts)


def _pack_hashes(hashes: Sequence[int]) -> bytes:
    # One binary of 8 bytes each: msgpack's own integers take 9.
    return struct.pack(f">{len(hashes)}Q", *hashes)


def _unpack_hashes(value: object) -> tuple[int, ...]:
    if not isinstance(value, bytes) or len(value) % _HASH_BYTES:
        raise DecodeError("name hashes are not a row of 8 bytes each")
    count = len(value) // _HASH_BYTES
    if count > MAX_HOLDERS_ANSWERED:
        raise DecodeError(f"{count} holders in an answer")
    return struct.unpack(f">{count}Q", value)
