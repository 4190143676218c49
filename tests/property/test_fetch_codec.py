import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.directory.fetch_codec import decode_fetch_untrusted, encode_fetch, is_fetch_message
from spegel_gossip.directory.fetch_messages import (
    MAX_FAILED_TOLD,
    MAX_PROGRESS_ITEMS,
    MAX_SOURCES_TOLD,
    FetchAsk,
    FetchMessage,
    FetchTold,
    Progress,
    ProgressItem,
)
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.errors import DecodeError

MAX_DATAGRAM = 1_100
u64 = st.integers(0, (1 << 64) - 1)
keys = st.binary(min_size=33, max_size=33).map(PackedKey)
asks = st.builds(
    FetchAsk,
    *(u64, keys, u64, u64, u64, st.booleans(), st.booleans()),
    failed=st.lists(u64, max_size=MAX_FAILED_TOLD).map(tuple),
    stalled=st.lists(u64, max_size=MAX_FAILED_TOLD).map(tuple),
    burden=st.integers(0, 0xFFFF),
    is_crowded=st.booleans(),
    is_blind=st.booleans(),
    busy=st.lists(u64, max_size=MAX_FAILED_TOLD).map(tuple),
    together=u64,
    stalled_ms=st.lists(u64, max_size=MAX_FAILED_TOLD).map(tuple),
    gives_way=st.booleans(),
)
told = st.builds(
    FetchTold,
    *(u64, st.integers(0, 255), st.lists(u64, max_size=MAX_SOURCES_TOLD).map(tuple), u64, u64, u64, u64),
)
items = st.builds(ProgressItem, keys, u64, u64, u64, st.integers(0, 255))
reports = st.builds(
    Progress,
    *(u64, st.integers(0, 65_535), st.booleans(), st.lists(items, max_size=MAX_PROGRESS_ITEMS).map(tuple)),
)


@given(st.one_of(asks, told, reports))
def test_what_was_encoded_is_decoded(message: FetchMessage) -> None:
    data = encode_fetch(message)
    assert is_fetch_message(data)
    assert decode_fetch_untrusted(data) == message


@given(st.one_of(asks, told, reports))
def test_every_message_fits_into_a_datagram(message: FetchMessage) -> None:
    assert len(encode_fetch(message)) <= MAX_DATAGRAM


@given(st.one_of(st.binary(max_size=64), asks.map(encode_fetch), reports.map(encode_fetch)), st.data())
def test_anything_else_is_a_decode_error_and_nothing_else(data: bytes, drawn: st.DataObject) -> None:
    cut = drawn.draw(st.integers(0, len(data)))
    flipped = bytearray(data[:cut])
    if flipped:
        flipped[drawn.draw(st.integers(0, len(flipped) - 1))] ^= 1 << drawn.draw(st.integers(0, 7))
    try:
        decode_fetch_untrusted(bytes(flipped))
    except DecodeError:
        return


def test_fields_of_later_releases_are_skipped() -> None:
    import msgpack

    ask = FetchAsk(7, PackedKey(b"\x01" + bytes(32)), 1, 2, 3)
    fields = msgpack.unpackb(encode_fetch(ask))
    assert decode_fetch_untrusted(msgpack.packb([*fields, "later"])) == ask


@pytest.mark.parametrize("data", [b"", b"\x93\x01\x01\xc0", b"\x20\x20"])
def test_other_messages_are_not_taken_for_these(data: bytes) -> None:
    assert not is_fetch_message(data)
