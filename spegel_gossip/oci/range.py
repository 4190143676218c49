"""The Range header of a blob request, parsed (RFC 9110, section 14).

One range in bytes is honoured. What the RFC lets a server ignore (another unit,
several ranges, a header that breaks the grammar) means the whole blob.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spegel_gossip.oci.errors import InvalidRangeError

# No blob needs 20 digits, and int() refuses more than 4,300: the bound keeps every match convertible.
_INT_RANGE = re.compile(r"([0-9]{1,30})-([0-9]{1,30})?")
_SUFFIX_RANGE = re.compile(r"-([0-9]{1,30})")
_OPTIONAL_WHITESPACE = " \t"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes `[start, stop)` of a blob; never empty when it comes from `parse_range`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes in the range."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the Content-Range of a 206 that carries this range of a blob of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def unsatisfied_content_range(size: int) -> str:
    """Return the Content-Range of a 416 for a blob of `size` bytes."""
    return f"bytes */{size}"


@dataclass(frozen=True, slots=True)
class RequestedRange:
    """What a Range header asks for, before the size of the blob is known."""

    header: str
    start: int | None
    """The first byte's offset; None where the last bytes of the blob are meant."""

    last: int | None
    """The last byte's offset, None for the blob's end; with no `start`, how many bytes from the end."""

    def within(self, size: int) -> ByteRange | None:
        """Return the bytes meant of a blob of `size` bytes; None means all of it.

        Raises:
            InvalidRangeError: if there is no such byte.
        """
        if self.start is None:
            count = self.last or 0
            if count == 0:
                raise InvalidRangeError(self.header, size)
            # The last bytes of an empty blob are all of it, and a 206 cannot carry no byte.
            return ByteRange(max(0, size - count), size) if size else None
        if self.start >= size:
            raise InvalidRangeError(self.header, size)
        return ByteRange(self.start, size if self.last is None else min(self.last + 1, size))


def parse_range_header(header: str | None) -> RequestedRange | None:
    """Return the one range of bytes that a header asks for, or None where it is to be ignored."""
    if header is None:
        return None
    unit, equals, range_set = header.strip(_OPTIONAL_WHITESPACE).partition("=")
    # Range units are compared without regard to case (section 14.1).
    if not equals or unit.lower() != "bytes":
        return None
    # A list may have empty elements (section 5.6.1.2): `0-4,` is one range.
    ranges = [part for part in (p.strip(_OPTIONAL_WHITESPACE) for p in range_set.split(",")) if part]
    if len(ranges) != 1:
        return None
    if (suffix := _SUFFIX_RANGE.fullmatch(ranges[0])) is not None:
        return RequestedRange(header, None, int(suffix[1]))
    if (match := _INT_RANGE.fullmatch(ranges[0])) is None:
        return None
    start, last = int(match[1]), None if match[2] is None else int(match[2])
    return None if last is not None and last < start else RequestedRange(header, start, last)


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the part of a blob of `size` bytes that a Range header asks for.

    None means the whole blob: no header, or one that is to be ignored. An end past
    the blob's is cut to it, as is a suffix longer than the blob.

    Raises:
        InvalidRangeError: if the range is well formed but holds no byte of the blob.
    """
    requested = parse_range_header(header)
    return None if requested is None else requested.within(size)
