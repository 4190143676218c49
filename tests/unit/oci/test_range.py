from __future__ import annotations

import pytest

from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.oci.range import (
    ByteRange,
    RequestedRange,
    parse_range,
    parse_range_header,
    unsatisfied_content_range,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-9", ByteRange(0, 10)),
        ("bytes=3-5", ByteRange(3, 6)),
        ("bytes=3-", ByteRange(3, 10)),
        ("bytes=0-", ByteRange(0, 10)),
        ("bytes=9-9", ByteRange(9, 10)),
        ("bytes=-1", ByteRange(9, 10)),
        ("bytes=-10", ByteRange(0, 10)),
        ("bytes=-999", ByteRange(0, 10)),
        ("bytes=5-999999999999999999999999", ByteRange(5, 10)),
        ("bytes=003-005", ByteRange(3, 6)),
        ("Bytes=3-5", ByteRange(3, 6)),
        ("BYTES=3-5", ByteRange(3, 6)),
        ("  bytes=3-5\t", ByteRange(3, 6)),
        ("bytes= 3-5 ", ByteRange(3, 6)),
        ("bytes=3-5,", ByteRange(3, 6)),
        ("bytes=, ,3-5", ByteRange(3, 6)),
    ],
)
def test_one_range_of_bytes_is_honoured(header: str, expected: ByteRange) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=3",
        "bytes=--3",
        "bytes=+3-5",
        "bytes=3 - 5",
        "bytes=3-5-7",
        "bytes=5-3",
        "bytes=0-1,3-5",
        "bytes=0-1, -1",
        "bytes=99-100, 200-300",
        "bytes =3-5",
        "items=3-5",
        "none",
        "bytes:3-5",
        "bytes=\uff13-\uff15",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_may_be_ignored_means_the_whole_blob(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=10-10", "bytes=11-20", "bytes=-0", "bytes=" + "9" * 30 + "-"]
)
def test_a_range_without_a_byte_of_the_blob_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(InvalidRangeError) as caught:
        parse_range(header, 10)

    assert caught.value.size == 10
    assert caught.value.text == header


def test_an_empty_blob_has_no_byte_at_any_offset() -> None:
    with pytest.raises(InvalidRangeError):
        parse_range("bytes=0-", 0)


def test_the_last_bytes_of_an_empty_blob_are_the_whole_of_it() -> None:
    assert parse_range("bytes=-5", 0) is None


def test_content_range_names_the_last_byte_not_the_one_after() -> None:
    assert ByteRange(3, 6).content_range(10) == "bytes 3-5/10"
    assert ByteRange(3, 6).length == 3


def test_content_range_of_a_416_names_only_the_size() -> None:
    assert unsatisfied_content_range(10) == "bytes */10"


def test_a_range_is_read_before_the_size_is_known() -> None:
    assert parse_range_header("bytes=7-") == RequestedRange("bytes=7-", 7, None)
    assert parse_range_header("bytes=7-9") == RequestedRange("bytes=7-9", 7, 9)
    assert parse_range_header("bytes=-9") == RequestedRange("bytes=-9", None, 9)
    assert parse_range_header("bytes=0-1,2-3") is None
