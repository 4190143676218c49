"""Bodies of push-pull as bytes.

One array each: its kind in front, then what it bears. The claims of a large table
are read one by one, so that its reader can let others have their turn in between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgpack

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.claim_codec import (
    DECODE_FAILURES,
    MAX_ITEMS,
    array_header,
    claim_untrusted,
    pack,
    pack_claim,
)
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.fields import binary, integer, listed, text
from spegel_gossip.swim.messages import BucketClaims, BucketHashes, PushPullKind
from spegel_gossip.swim.names import MAX_NAME_BYTES

MAX_BUCKETS: Final = 1024
"""Buckets of a push-pull."""
MAX_PUSH_PULL_CLAIMS: Final = 32_768
"""Claims in one push-pull body."""
MAX_PUSH_PULL_BYTES: Final = 16 << 20
"""Longest push-pull body; 16,384 members take some 1.5 MB."""

PushPullBody = BucketHashes | BucketClaims

_HASH = struct.Struct("!Q")
_CLAIMS_BODY_FIELDS = 5


class ClaimReader:
    """The claims of a push-pull body, parsed as they are asked for."""

    def __init__(self, body: bytes, unpacker: msgpack.Unpacker) -> None:
        """Parse what stands before the claims.

        Raises:
            DecodeError: that is malformed.
        """
        self._body = body
        self._unpacker = unpacker
        self.name = text(unpacker.unpack(), MAX_NAME_BYTES, least=1)
        self.bucket_count = integer(unpacker.unpack(), MAX_BUCKETS + 1)
        buckets = listed(unpacker.unpack())
        if len(buckets) > self.bucket_count or self.bucket_count & (self.bucket_count - 1):
            raise DecodeError(f"{len(buckets)} buckets of {self.bucket_count}")
        self.buckets = tuple(integer(bucket, self.bucket_count) for bucket in buckets)
        self._count = unpacker.read_array_header()
        if self._count > MAX_PUSH_PULL_CLAIMS:
            raise DecodeError(f"{self._count} claims in one body")

    def __iter__(self) -> Iterator[Claim]:
        """Yield the claims, those of unknown states left out.

        Raises:
            DecodeError: for every malformed claim; those before it were yielded.
        """
        unpacker, body = self._unpacker, self._body
        for _ in range(self._count):
            start = unpacker.tell()
            try:
                unpacker.skip()
            except DECODE_FAILURES as exc:
                raise DecodeError(f"not a row of claims: {exc}") from exc
            claim = claim_untrusted(body[start : unpacker.tell()])
            if claim is not None:
                yield claim


def encode_push_pull(body: PushPullBody) -> bytes:
    """Return the body of one of a push-pull's requests, or of its answer."""
    match body:
        case BucketHashes(hashes):
            return pack([PushPullKind.HASHES.value, b"".join(map(_HASH.pack, hashes))])
        case BucketClaims(name, bucket_count, buckets, claims):
            rows = []
            for claim in claims[:MAX_PUSH_PULL_CLAIMS]:
                packed = pack_claim(claim)
                rows.append(array_header(packed.count) + packed.fields(claim.age))
            return encode_bucket_claims(name, bucket_count, buckets, rows)


def encode_bucket_claims(
    name: str, bucket_count: int, buckets: Sequence[int], claims: Sequence[bytes]
) -> bytes:
    """Return a body of claims that are packed already."""
    claims = claims[:MAX_PUSH_PULL_CLAIMS]
    head = (PushPullKind.CLAIMS.value, name, bucket_count, list(buckets))
    parts = [array_header(_CLAIMS_BODY_FIELDS), *map(pack, head), array_header(len(claims))]
    return b"".join((*parts, *claims))


def decode_push_pull_untrusted(body: bytes) -> PushPullBody:
    """Parse what `encode_push_pull` writes, all of it.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    read = read_push_pull_untrusted(body)
    if isinstance(read, BucketHashes):
        return read
    return BucketClaims(read.name, read.bucket_count, read.buckets, tuple(read))


def read_push_pull_untrusted(body: bytes) -> BucketHashes | ClaimReader:
    """Begin to parse a push-pull body; its claims are parsed when they are asked for.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    if len(body) > MAX_PUSH_PULL_BYTES:
        raise DecodeError(f"a push-pull body of {len(body)} bytes")
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_PUSH_PULL_BYTES, max_array_len=MAX_BUCKETS, max_map_len=MAX_ITEMS
    )
    unpacker.feed(body)
    try:
        fields = unpacker.read_array_header()
        if fields < 1:
            raise DecodeError("an empty push-pull body")
        kind = unpacker.unpack()
        if kind == PushPullKind.HASHES and fields > 1:
            return _bucket_hashes_untrusted(binary(unpacker.unpack()))
        if kind == PushPullKind.CLAIMS and fields >= _CLAIMS_BODY_FIELDS:
            return ClaimReader(body, unpacker)
    except DECODE_FAILURES as exc:
        raise DecodeError(f"not a push-pull body: {exc}") from exc
    raise DecodeError(f"a push-pull body of {fields} fields and of no kind that is known")


def _bucket_hashes_untrusted(hashes: bytes) -> BucketHashes:
    count, rest = divmod(len(hashes), _HASH.size)
    if rest or not 0 < count <= MAX_BUCKETS or count & (count - 1):
        raise DecodeError(f"bucket hashes of {len(hashes)} bytes")
    return BucketHashes(tuple(one for (one,) in _HASH.iter_unpack(hashes)))
