"""What containerd tells of its own accord, as values."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class ImageNews:
    """An image was created, updated or deleted."""

    name: str
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class ContentNews:
    """A blob was committed (containerd 2.1 and later say so)."""

    digest: Digest


News = ImageNews | ContentNews
