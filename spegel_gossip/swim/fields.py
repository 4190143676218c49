"""What a single field on the wire may be: each check takes what msgpack gave and returns it typed.

A refusal names the type of what came and never shows it: msgpack takes arrays nested deeper
than Python can print, and one such field would raise from its own refusal.
"""

from __future__ import annotations

from spegel_gossip.errors import DecodeError


def field(fields: list[object], index: int) -> object:
    """Return one field of a message.

    Raises:
        DecodeError: the message is too short.
    """
    if index >= len(fields):
        raise DecodeError(f"a message of {len(fields)} fields")
    return fields[index]


def listed(raw: object) -> list[object]:
    """Return an array.

    Raises:
        DecodeError: it is none.
    """
    if not isinstance(raw, list):
        raise DecodeError(f"{type(raw).__name__} where an array belongs")
    return raw


def binary(raw: object) -> bytes:
    """Return bytes.

    Raises:
        DecodeError: it is something else.
    """
    if not isinstance(raw, bytes):
        raise DecodeError(f"{type(raw).__name__} where bytes belong")
    return raw


def integer(raw: object, limit: int) -> int:
    """Return an integer from 0 to below `limit`.

    Raises:
        DecodeError: it is something else.
    """
    # bool is an int to Python, but not on this wire.
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw < limit:
        raise DecodeError(f"{type(raw).__name__} where an integer below {limit} belongs")
    return raw


def text(raw: object, most: int, *, least: int = 0) -> str:
    """Return printable text of so many bytes.

    Raises:
        DecodeError: it is something else.
    """
    if not isinstance(raw, str) or not least <= len(raw.encode()) <= most or not raw.isprintable():
        # Names go to terminals and logs: no control characters.
        raise DecodeError(f"{type(raw).__name__} where printable text of {least}-{most} bytes belongs")
    return raw
