"""Images and ingests as a store records them, and what their names say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError
from spegel_gossip.oci.reference import Reference, TagName

_DIGEST_AT_END = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of the store: a name, and what it names."""

    name: str
    target: Descriptor
    updated_at: float
    """Unix seconds, by the store's clock."""

    tag: TagName | None = field(init=False)
    """The tag that the name is, or None: the CRI plugin also names images by digest and by id."""

    def __post_init__(self) -> None:
        """Read the tag once: records are made in threads and asked often on the loop."""
        object.__setattr__(self, "tag", tag_of(self.name))


@dataclass(frozen=True, slots=True)
class IngestRecord:
    """An open ingest, as a service lists it."""

    ref: str
    offset: int
    total: int


def tag_of(name: str) -> TagName | None:
    """Return the tag that an image's name is, or None where it is no tag.

    `sha256:…` is the CRI plugin's image id; `repository@sha256:…` names a digest;
    `import-2026-01-01@sha256:…` is `ctr`'s. A name without a registry is nobody's.
    """
    if "/" not in name or "@" in name:
        return None
    try:
        return Reference.parse(name).tag_name
    except InvalidReferenceError:
        return None


def digest_of_ref(ref: str) -> Digest | None:
    """Return the digest that an ingest is for, or None where its ref does not say.

    containerd's own clients put it at the end: `layer-sha256:…`, `manifest-sha256:…`.
    """
    match = _DIGEST_AT_END.search(ref)
    if match is None:
        return None
    try:
        return Digest.parse(match[0])
    except InvalidDigestError:
        return None
