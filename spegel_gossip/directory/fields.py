"""What a single field of a directory message may be: both codecs write and check by these."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, cast

import msgpack

from spegel_gossip.directory.keys import MAX_PACKED_KEY, MIN_PACKED_KEY, PackedKey
from spegel_gossip.errors import DecodeError

MAX_ARRAY: Final = 1 << 16
"""Items of an array for which nothing tighter is said."""


def pack(kind: IntEnum, id_: int, fields: Sequence[object]) -> bytes:
    """Return a message: kind and id in front of its fields."""
    return cast("bytes", msgpack.packb([kind.value, id_, *fields]))


def array(value: object, *, at_least: int = 0, at_most: int = MAX_ARRAY) -> Sequence[object]:
    """Return an array of so many items.

    Raises:
        DecodeError: it is something else.
    """
    if not isinstance(value, list):
        raise DecodeError(f"expected an array, got {type(value).__name__}")
    if not at_least <= len(value) <= at_most:
        raise DecodeError(f"an array of {len(value)}, expected {at_least} to {at_most}")
    return value


def uint(value: object, limit: int) -> int:
    """Return an integer from 0 to `limit`.

    Raises:
        DecodeError: it is something else.
    """
    if type(value) is not int or not 0 <= value <= limit:
        raise DecodeError(f"expected an integer of 0 to {limit}")
    return value


def packed_key(value: object) -> PackedKey:
    """Return a packed key, by its length.

    Raises:
        DecodeError: it is something else.
    """
    if not isinstance(value, bytes) or not MIN_PACKED_KEY <= len(value) <= MAX_PACKED_KEY:
        raise DecodeError("expected a packed key")
    return PackedKey(value)
