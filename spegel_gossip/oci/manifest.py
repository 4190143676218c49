"""Manifests and indexes, parsed once: what an image is made of.

The bytes come from a registry that nobody vouches for, so every limit is checked
here. The names are the image specification's; Docker's schema 2 differs from it in
media types only. Schema 1 is not served: its digest is not that of its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidManifestError

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""distribution-spec: registries should accept manifests up to 4 MiB; containerd reads no more than 8."""

MAX_DESCRIPTORS = 4_096
"""Descriptors in one document. The largest images have 127 layers, the largest indexes some hundred."""

MAX_MEDIA_TYPE_LENGTH = 255
"""RFC 6838, section 4.2: 127 characters on each side of the slash."""

MAX_SIZE: Final = 2**63 - 1
"""Bytes in one blob: the specification's sizes are int64."""

_ATTESTATION_ANNOTATION = "vnd.docker.reference.type"
_UNKNOWN = "unknown"


class ManifestKind(Enum):
    """What a manifest describes."""

    INDEX = "index"
    """Manifests, one a platform as a rule."""

    IMAGE = "image"
    """A config that a runtime understands, and layers."""

    ARTIFACT = "artifact"
    """Anything else: a Helm chart, a signature, a model."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The machine that a manifest of an index is for."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One manifest of an index."""

    descriptor: Descriptor
    platform: Platform | None

    is_attestation: bool = False
    """It describes another entry (buildkit's provenance, SBOM); no runtime pulls it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index that has passed every check."""

    kind: ManifestKind
    media_type: str
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[IndexEntry, ...] = ()
    subject: Descriptor | None = None
    """The manifest that this one is about (a signature's image); not part of it."""

    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """All that it names as its parts, in the order in which a client asks for them."""
        config = () if self.config is None else (self.config,)
        return (*(entry.descriptor for entry in self.manifests), *config, *self.layers)


def parse_manifest_untrusted(data: bytes, media_type: str | None = None) -> Manifest:
    """Parse the bytes of a manifest or an index.

    Args:
        data: the document, whose digest the caller has verified or will
        media_type: what the descriptor or the Content-Type said; used only where
            the document does not say it itself, as older OCI ones need not

    Raises:
        InvalidManifestError: for every document that is not one, or is past the
            limits, and nothing else.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidManifestError(f"manifest of {len(data)} bytes; the limit is {MAX_MANIFEST_BYTES}")
    document = _load(data)
    own_type = document.get("mediaType")
    if own_type is not None:
        kind_type = _media_type(own_type)
    elif media_type in types.MANIFESTS:
        kind_type = media_type
    else:
        kind_type = _sniff(document)
    if kind_type in types.INDEXES:
        return _index(document, kind_type)
    if kind_type == types.OCI_ARTIFACT:
        return _artifact(document)
    if kind_type in types.MANIFESTS:
        return _image(document, kind_type)
    raise InvalidManifestError(f"not a manifest's media type: {kind_type!r}")


def _load(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidManifestError(f"manifest is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InvalidManifestError("manifest is not a JSON object")
    return document


def _sniff(document: Mapping[str, Any]) -> str:
    if "schemaVersion" in document and document["schemaVersion"] != 2:
        raise InvalidManifestError("only schema version 2 is known; version 1 cannot be verified by digest")
    if "manifests" in document:
        return types.OCI_INDEX
    if "config" in document and "layers" in document:
        return types.OCI_MANIFEST
    raise InvalidManifestError("neither a manifest (config, layers) nor an index (manifests)")


def _index(document: Mapping[str, Any], media_type: str) -> Manifest:
    # One document that is both an index and a manifest is read by some clients as the
    # one and by some as the other (CVE-2021-41190): the specification tells us to refuse.
    if "layers" in document or "config" in document:
        raise InvalidManifestError("an index must not have config or layers")
    entries = _list(document, "manifests")
    return Manifest(
        kind=ManifestKind.INDEX,
        media_type=media_type,
        manifests=tuple(_entry(entry) for entry in entries),
        subject=_optional(document, "subject"),
        artifact_type=_text(document, "artifactType"),
    )


def _image(document: Mapping[str, Any], media_type: str) -> Manifest:
    if "manifests" in document:
        raise InvalidManifestError("a manifest must not have manifests")
    config = _descriptor(document.get("config"))
    layers = tuple(_descriptor(layer) for layer in _list(document, "layers"))
    artifact_type = _text(document, "artifactType")
    is_image = config.media_type in types.IMAGE_CONFIGS and not artifact_type
    return Manifest(
        kind=ManifestKind.IMAGE if is_image else ManifestKind.ARTIFACT,
        media_type=media_type,
        config=config,
        layers=layers,
        subject=_optional(document, "subject"),
        artifact_type=artifact_type,
    )


def _artifact(document: Mapping[str, Any]) -> Manifest:
    blobs = _list(document, "blobs") if "blobs" in document else []
    return Manifest(
        kind=ManifestKind.ARTIFACT,
        media_type=types.OCI_ARTIFACT,
        layers=tuple(_descriptor(blob) for blob in blobs),
        subject=_optional(document, "subject"),
        artifact_type=_text(document, "artifactType"),
    )


def _entry(value: object) -> IndexEntry:
    if not isinstance(value, dict):
        raise InvalidManifestError("an entry of the index is not an object")
    descriptor = _descriptor(value)
    platform = _platform(value.get("platform"))
    annotations = value.get("annotations")
    is_marked = isinstance(annotations, dict) and _ATTESTATION_ANNOTATION in annotations
    is_unknown = platform is not None and platform.os == platform.architecture == _UNKNOWN
    return IndexEntry(descriptor, platform, is_attestation=is_marked or is_unknown)


def _platform(value: object) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidManifestError("platform is not an object")
    return Platform(_text(value, "os"), _text(value, "architecture"), _text(value, "variant"))


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidManifestError("a descriptor is missing or not an object")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise InvalidManifestError("a descriptor's size is missing or out of range")
    text = value.get("digest")
    try:
        digest = Digest.parse(text if isinstance(text, str) else "")
    except InvalidDigestError as exc:
        raise InvalidManifestError(str(exc)) from exc
    return Descriptor(digest, size, _media_type(value.get("mediaType", types.OCTET_STREAM)))


def _optional(document: Mapping[str, Any], key: str) -> Descriptor | None:
    value = document.get(key)
    return None if value is None else _descriptor(value)


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    # Go's encoder writes null for an empty list; signatures without layers exist.
    if value is None and key in document:
        return []
    if not isinstance(value, list):
        raise InvalidManifestError(f"{key} is missing or not a list")
    if len(value) > MAX_DESCRIPTORS:
        raise InvalidManifestError(f"{len(value)} descriptors in {key}; the limit is {MAX_DESCRIPTORS}")
    return value


def _media_type(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_MEDIA_TYPE_LENGTH:
        raise InvalidManifestError("a media type is not a string, or too long")
    return value


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_MEDIA_TYPE_LENGTH:
        raise InvalidManifestError(f"{key} is not a string, or too long")
    return value
