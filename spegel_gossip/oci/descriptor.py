"""The OCI descriptor: what a manifest says of the content it points to."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: its digest, size in bytes and media type."""

    digest: Digest
    size: int
    media_type: str
