"""OCI content digests: checked once, here, and trusted inside."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from spegel_gossip.oci.errors import InvalidDigestError

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


class Hasher(Protocol):
    """The part of hashlib's objects that verification needs."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far, in hexadecimal."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A well-formed sha256 or sha512 digest. Holding one means it has been checked."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest written in `text`, as `algorithm:hex`.

        Raises:
            InvalidDigestError: if `text` is not a sha256 or sha512 digest.
        """
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidDigestError(text)
        return cls(match[1] or match[3], match[2] or match[4])

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def matches(self, data: bytes) -> bool:
        """Return whether `data` has this digest."""
        hasher = self.hasher()
        hasher.update(data)
        return hasher.hexdigest() == self.hex

    def hasher(self) -> Hasher:
        """Return a fresh hasher of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
