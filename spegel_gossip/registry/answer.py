"""An answer to containerd as a value: decided in one place, sent in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self
from urllib.parse import quote

from spegel_gossip.content import BlobReader
from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest

SOURCE_HEADER = "Spegel-Gossip-Source"
"""Who content came from: `LOCAL`, a member's name, or `PEER` where the name is not known."""

DECISION_HEADER = "Spegel-Gossip-Decision"
"""Why content came from there: `digest held here`, or for a tag its policy and the observation's age."""

LOCAL = "local"
PEER = "peer"


class Kind(Enum):
    """What was asked for, as metrics and error codes tell it apart."""

    MANIFEST = "manifest"
    BLOB = "blob"
    OTHER = "other"


class Outcome(Enum):
    """Where an answer came from, or why there is none."""

    LOCAL = "local"
    PEER = "peer"
    YIELDED = "yielded"
    """An answer without a byte: containerd asks again, and its slot is free meanwhile."""

    MISS = "miss"
    FILTERED = "filtered"
    ERROR = "error"


def content_headers(digest: Digest, media_type: str, length: int, *, source: str) -> dict[str, str]:
    """Return the headers that go with content of whatever kind.

    Args:
        digest: of the whole content; being that, it is its entity tag too
        media_type: what it is sent as
        length: bytes in the body
        source: for `SOURCE_HEADER`; a member's name may hold what a header may not
    """
    return {
        "Content-Type": media_type,
        "Content-Length": str(length),
        "Docker-Content-Digest": str(digest),
        "ETag": entity_tag(digest),
        SOURCE_HEADER: quote(source),
    }


def entity_tag(digest: Digest) -> str:
    """Return the ETag of content."""
    return f'"{digest}"'


@dataclass(frozen=True, slots=True)
class BlobBody:
    """Bytes of an open blob; whoever sends the answer closes it."""

    source: BlobReader | BlobStream
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body. `Content-Length` is always among the headers."""

    status: int
    headers: Mapping[str, str]
    body: bytes | BlobBody
    outcome: Outcome

    def because(self, decision: str) -> Self:
        """Return the same answer with what was decided in its headers."""
        return replace(self, headers={**self.headers, DECISION_HEADER: decision})

    @classmethod
    def of_bytes(cls, status: int, body: bytes, headers: Mapping[str, str], *, outcome: Outcome) -> Self:
        """Return an answer whose whole body is in memory."""
        return cls(status, {**headers, "Content-Length": str(len(body))}, body, outcome)
