"""Directory messages: what is encoded is decoded, and nothing that arrives raises but DecodeError."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.directory.codec import (
    ADVERTISE_OVERHEAD,
    decode_untrusted,
    encode,
    encode_answer_within,
    record_bytes,
)
from spegel_gossip.directory.keys import PackedKey, pack_key, token_of, unpack_key_untrusted
from spegel_gossip.directory.messages import (
    MAX_ARRIVALS_TOLD,
    MAX_HOLDERS_ANSWERED,
    MAX_NAMING_HOLDERS,
    MAX_NAMINGS,
    MAX_QUESTION_KEYS,
    Ack,
    Advertise,
    Answer,
    Arrival,
    Closing,
    KeyAnswer,
    Message,
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
from spegel_gossip.directory.records import MAX_U64, Note, Record, Summary, encode_note
from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

u64 = st.integers(0, MAX_U64)
u32 = st.integers(0, 0xFFFFFFFF)
kinds = st.integers(0, 0xFF)
digests = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda raw: Digest("sha256", raw.hex())),
    st.binary(min_size=64, max_size=64).map(lambda raw: Digest("sha512", raw.hex())),
)
tags = st.builds(
    TagName,
    st.sampled_from(["docker.io", "registry.example:5000", "[::1]:80"]),
    st.sampled_from(["library/nginx", "a/b/c", "x" * 255]),
    st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True),
)
keys = st.one_of(digests, tags).map(pack_key)
digest_keys = digests.map(pack_key)
records = st.one_of(
    st.builds(Record, keys, kinds, u64, u64),
    st.builds(Record, keys, kinds, u64, u64, digest_keys, u64),
)
summaries = st.builds(Summary, u32, u64)
hashes = st.lists(u64, max_size=MAX_HOLDERS_ANSWERED).map(tuple)
namings = st.builds(Naming, digest_keys, u64, st.lists(u64, max_size=MAX_NAMING_HOLDERS).map(tuple))
arrivals = st.builds(Arrival, u64, u64, u64, st.none() | u64, u64)
spreadings = st.builds(Spreading, st.lists(arrivals, max_size=MAX_ARRIVALS_TOLD).map(tuple), u64, u64, u64)
key_answers = st.one_of(
    st.builds(KeyAnswer, st.booleans(), st.booleans(), hashes, hashes, u64),
    st.builds(KeyAnswer, st.booleans(), st.booleans(), hashes, hashes, u64, digest_keys, u64),
    st.builds(
        KeyAnswer,
        st.booleans(),
        st.booleans(),
        hashes,
        hashes,
        u64,
        namings=st.lists(namings, max_size=MAX_NAMINGS).map(tuple),
        hidden=hashes,
        purged_at_ms=u64,
        spreading=st.none() | spreadings,
    ),
)
answers = st.builds(Answer, u64, u64, st.lists(key_answers, max_size=MAX_QUESTION_KEYS).map(tuple))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Advertise,
        u64,
        u64,
        u32,
        st.lists(records, max_size=5).map(tuple),
        st.none() | st.builds(Closing, u64, summaries, u64),
    ),
    st.builds(Ack, u64, kinds),
    st.builds(Resync, u64, u64),
    st.builds(Question, u64, kinds, st.lists(st.builds(QuestionKey, keys, u64), max_size=5).map(tuple)),
    answers,
    st.builds(Miss, u64, keys, u64),
    st.builds(Recheck, u64, keys),
    st.builds(Purge, u64, st.lists(st.builds(PurgeItem, keys, u64), max_size=5).map(tuple)),
)


@given(messages)
@settings(deadline=None)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode_untrusted(encode(message)) == message


@given(messages, st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=4), st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_messages_raise_decode_error_only(
    message: Message, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    raw = bytearray(encode(message))
    for at, value in changes:
        raw[at % len(raw)] = value
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, len(raw)))
    for mutated in (bytes(raw), bytes(raw[:stop]), bytes(raw[start:]), bytes(raw[:start] + raw[stop:])):
        try:
            decoded = decode_untrusted(mutated)
        except DecodeError:
            continue
        # What gets through is a message like any other: it can be sent on.
        assert decoded is None or decode_untrusted(encode(decoded)) == decoded


@given(st.binary(max_size=200))
def test_noise_raises_decode_error_only(data: bytes) -> None:
    for parse in (decode_untrusted, unpack_key_untrusted):
        with contextlib.suppress(DecodeError):
            parse(data)
    Note.decode_untrusted(data)


JSONLIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, MAX_U64)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


@given(st.integers(0, 9), u64, st.lists(JSONLIKE, max_size=6))
@settings(max_examples=300, deadline=None)
def test_well_formed_nonsense_raises_decode_error_only(kind: int, id_: int, fields: list[object]) -> None:
    with contextlib.suppress(DecodeError):
        decode_untrusted(msgpack.packb([kind, id_, *fields]))


@given(messages, st.lists(JSONLIKE, max_size=3))
@settings(deadline=None)
def test_trailing_fields_of_a_later_release_are_skipped(message: Message, more: list[object]) -> None:
    fields = msgpack.unpackb(encode(message))
    assert decode_untrusted(msgpack.packb([*fields, *more])) == message


def test_a_kind_of_a_later_release_is_skipped() -> None:
    assert decode_untrusted(msgpack.packb([200, 1, {"a": [1, 2]}])) is None


@given(st.lists(records, max_size=40), u64, u64, u32, st.builds(Closing, u64, summaries, u64))
@settings(deadline=None)
def test_an_advertisement_is_never_longer_than_its_estimate(
    some: list[Record], id_: int, boot: int, round_: int, closing: Closing
) -> None:
    encoded = encode(Advertise(id_, boot, round_, tuple(some), closing))
    assert len(encoded) <= ADVERTISE_OVERHEAD + sum(map(record_bytes, some))


@given(answers, st.integers(1_000, 1_200))
@settings(deadline=None)
def test_an_answer_is_cut_to_what_fits(answer: Answer, max_bytes: int) -> None:
    encoded = encode_answer_within(answer, max_bytes)
    decoded = decode_untrusted(encoded)
    assert isinstance(decoded, Answer)
    assert len(encoded) <= max_bytes
    if not any(one.digest or one.namings for one in answer.answers):
        assert len(decoded.answers) == len(answer.answers)
    for cut, whole in zip(decoded.answers, answer.answers, strict=False):
        assert whole.holders[: len(cut.holders)] == cut.holders
        assert cut.digest == whole.digest
        # One that is known must not come out as nobody.
        assert cut.is_nobody == whole.is_nobody


@given(st.one_of(digests, tags))
def test_keys_survive_packing(key: Digest | TagName) -> None:
    assert unpack_key_untrusted(pack_key(key)) == key


@given(digests)
def test_a_digest_is_its_own_token(digest: Digest) -> None:
    assert token_of(pack_key(digest)) == int(digest.hex[:16], 16)


@given(st.integers(4, 255), st.binary(min_size=1, max_size=100))
def test_a_key_of_a_later_release_has_a_place_on_the_ring_and_no_meaning(kind: int, rest: bytes) -> None:
    packed = PackedKey(bytes((kind,)) + rest)
    assert 0 <= token_of(packed) <= MAX_U64
    with pytest.raises(DecodeError):
        unpack_key_untrusted(packed)


@given(u64, summaries)
def test_a_note_survives_its_sixteen_bytes(epoch: int, summary: Summary) -> None:
    raw = encode_note(epoch, summary)
    assert len(raw) == 16
    note = Note.decode_untrusted(raw + b"more of a later release")
    assert note is not None
    assert note.summary == summary
    assert note.is_of(epoch)
