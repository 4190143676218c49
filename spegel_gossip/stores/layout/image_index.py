"""`index.json`: what a layout's tags name (image-spec, image-layout.md).

A name is written twice, where skopeo and where containerd look for it, and in full
in both: a tag without its registry could be anybody's. What other programs wrote is
kept as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.records import tag_of

REF_NAME = "org.opencontainers.image.ref.name"
"""image-spec's annotation; skopeo finds an image by it, whatever it says."""

CONTAINERD_NAME = "io.containerd.image.name"
"""containerd's annotation, always a full name: `ctr image import` prefers it."""

UPDATED_AT = "dev.spegel-gossip.updated-at"
"""Our annotation: when the tag was recorded, unix seconds."""

MAX_INDEX_BYTES = 16 * 1024 * 1024
"""Of `index.json` that are read: some 30,000 tags."""


class InvalidIndexError(ValueError):
    """The bytes are not the index of an image layout; never leaves this package."""


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """An entry of the index that names something by a digest."""

    target: Descriptor
    names: tuple[str, ...]
    """What the annotations call it, containerd's first; empty for an image without a name."""

    updated_at: float | None
    """Unix seconds; None where another program wrote it."""

    @property
    def tag(self) -> TagName | None:
        """The tag that its names say it is; None for a short name, which is nobody's."""
        return next((tag for name in self.names if (tag := tag_of(name)) is not None), None)


class ImageIndex:
    """The document; never changed, only replaced."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    @classmethod
    def empty(cls) -> Self:
        """Return an index without entries."""
        return cls({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": []})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the file, tolerating odd entries: they are kept, and not shown.

        Raises:
            InvalidIndexError: it is no such document, or somebody is still writing it.
        """
        if len(data) > MAX_INDEX_BYTES:
            raise InvalidIndexError(f"it is longer than {MAX_INDEX_BYTES} bytes")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise InvalidIndexError(str(exc)) from exc
        if not isinstance(document, dict) or not isinstance(document.get("manifests"), list):
            raise InvalidIndexError("it has no list of manifests")
        return cls(document)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return json.dumps(self._document, indent=2).encode() + b"\n"

    @property
    def entries(self) -> tuple[NamedEntry, ...]:
        """All entries that can be understood, in their order."""
        parsed = (_entry(raw) for raw in self._document["manifests"])
        return tuple(entry for entry in parsed if entry is not None)

    def with_tag(self, name: TagName, target: Descriptor, updated_at: float) -> ImageIndex:
        """Return the index in which the tag names `target` and nothing else."""
        entry = {
            "mediaType": target.media_type,
            "digest": str(target.digest),
            "size": target.size,
            "annotations": {
                REF_NAME: str(name),
                CONTAINERD_NAME: str(name),
                UPDATED_AT: f"{updated_at:.6f}",
            },
        }
        return self._replaced([*self._without(name), entry])

    def without_tag(self, name: TagName) -> ImageIndex:
        """Return the index without the tag."""
        return self._replaced(self._without(name))

    def _replaced(self, manifests: list[Any]) -> ImageIndex:
        return ImageIndex({**self._document, "manifests": manifests})

    def _without(self, name: TagName) -> list[Any]:
        return [
            raw for raw in self._document["manifests"] if (entry := _entry(raw)) is None or entry.tag != name
        ]


def _entry(raw: object) -> NamedEntry | None:
    if not isinstance(raw, dict):
        return None
    digest, size, media_type = raw.get("digest"), raw.get("size"), raw.get("mediaType")
    if not isinstance(digest, str) or type(size) is not int or not isinstance(media_type, str) or size < 0:
        return None
    try:
        target = Descriptor(Digest.parse(digest), size, media_type)
    except InvalidDigestError:
        return None
    annotations = raw.get("annotations")
    if not isinstance(annotations, dict):
        return NamedEntry(target, (), None)
    given = (annotations.get(key) for key in (CONTAINERD_NAME, REF_NAME))
    names = dict.fromkeys(name for name in given if isinstance(name, str))
    return NamedEntry(target, tuple(names), _seconds(annotations.get(UPDATED_AT)))


def _seconds(text: object) -> float | None:
    try:
        seconds = float(text) if isinstance(text, str) else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
