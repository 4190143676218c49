from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.oci.range import ByteRange, parse_range, parse_range_header

sizes = st.integers(0, 50) | st.integers(0, 2**50)
offsets = st.integers(0, 60) | st.integers(0, 2**60)
near_headers = st.lists(
    st.sampled_from(
        ["bytes", "=", "-", ",", " ", "\t", "0", "7", "99", "9" * 40, "x", "+", "Bytes=", "items="]
    )
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@given(near_headers | st.text() | st.none(), sizes)
def test_a_header_gives_bytes_of_the_blob_or_all_or_416_and_nothing_else(
    header: str | None, size: int
) -> None:
    try:
        part = parse_range(header, size)
    except InvalidRangeError:
        return
    assert part is None or 0 <= part.start < part.stop <= size


@given(offsets, offsets, sizes)
def test_first_and_last_byte_select_what_a_slice_does(first: int, last: int, size: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert parse_range(header, size) is None
    elif first < size:
        start, stop, _ = slice(first, last + 1).indices(size)
        assert parse_range(header, size) == ByteRange(start, stop)


@given(st.integers(1, 2**60), st.integers(1, 2**50))
def test_a_suffix_selects_what_a_negative_slice_does(count: int, size: int) -> None:
    start, stop, _ = slice(-count, None).indices(size)
    assert parse_range(f"bytes=-{count}", size) == ByteRange(start, stop)


@given(near_headers, sizes)
def test_to_ignore_a_header_does_not_depend_on_the_size(header: str, size: int) -> None:
    if parse_range_header(header) is None:
        assert parse_range(header, size) is None
