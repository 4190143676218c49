"""Keys as bytes, as they travel and as the tables hold them, and their place on the ring.

A packed key is one byte of kind and the key itself. Owners handle packed keys
without looking inside, so that an old owner serves a kind that it does not know.
"""

from __future__ import annotations

import hashlib
from typing import Final, NewType

from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError
from spegel_gossip.oci.reference import TagName

Key = Digest | TagName
"""What the directory is about; the same as the router port's."""

PackedKey = NewType("PackedKey", bytes)
"""A key as bytes."""

# The kinds are on the wire: only append.
_SHA256: Final = 1
_SHA512: Final = 2
_TAG: Final = 3
_DIGEST_KINDS = {"sha256": _SHA256, "sha512": _SHA512}
_DIGEST_BYTES = {_SHA256: 32, _SHA512: 64}
_ALGORITHMS = {_SHA256: "sha256", _SHA512: "sha512"}
_TOKEN_BYTES = 8

MIN_PACKED_KEY = 2
MAX_PACKED_KEY = 700
"""A kind, a registry (253 and a port), a repository (255), a tag (128), and two marks."""


def pack_key(key: Key) -> PackedKey:
    """Return a key as bytes."""
    if isinstance(key, Digest):
        return PackedKey(bytes((_DIGEST_KINDS[key.algorithm],)) + bytes.fromhex(key.hex))
    return PackedKey(bytes((_TAG,)) + str(key).encode())


def unpack_key_untrusted(packed: bytes) -> Key:
    """Parse a packed key that came from the network.

    Raises:
        DecodeError: for every malformed input, and nothing else; also for a kind
            that this release does not know.
    """
    if not MIN_PACKED_KEY <= len(packed) <= MAX_PACKED_KEY:
        raise DecodeError(f"a key of {len(packed)} bytes")
    kind, rest = packed[0], packed[1:]
    try:
        if kind == _TAG:
            return TagName.parse(rest.decode())
        if len(rest) == _DIGEST_BYTES.get(kind):
            return Digest.parse(f"{_ALGORITHMS[kind]}:{rest.hex()}")
    except (UnicodeDecodeError, InvalidReferenceError, InvalidDigestError) as exc:
        raise DecodeError(f"bad key: {exc}") from exc
    raise DecodeError(f"bad key: kind {kind}, {len(packed)} bytes")


def is_tag(packed: PackedKey) -> bool:
    """Return whether a packed key is a tag."""
    return packed[0] == _TAG


def token_of(packed: PackedKey) -> int:
    """Return a key's place on the ring.

    A digest is its own hash; anything else, kinds of later releases too, is
    hashed without its kind byte.
    """
    if packed[0] in _DIGEST_BYTES:
        return int.from_bytes(packed[1 : 1 + _TOKEN_BYTES], "big")
    return int.from_bytes(hashlib.blake2b(packed[1:], digest_size=_TOKEN_BYTES).digest(), "big")
