"""Whether a whole image is here: the rule by which a tag may be offered to others.

A tag is promised only while everything behind it can be delivered: the manifest,
its config and all layers. An index is whole if one of its images is, since no node
pulls more than its own platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import Manifest, ManifestKind
from spegel_gossip.oci.media_type import MANIFESTS

MAX_MANIFESTS_VISITED = 512
"""Manifests read for one image. Real indexes have a few dozen entries; a hostile tree of
indexes must not keep a thread busy for minutes."""

MAX_DEPTH = 4
"""Indexes within indexes; the specification allows them, nobody was seen to nest more than two."""


@dataclass(frozen=True, slots=True)
class Wholeness:
    """The verdict on one image, and the content it rests on."""

    is_whole: bool

    looked_at: tuple[Digest, ...]
    """Every digest whose presence or absence decided; look again when one of them changes."""


def wholeness(
    root: Digest, *, is_held: Callable[[Digest], bool], manifest: Callable[[Digest], Manifest]
) -> Wholeness:
    """Judge whether the image whose manifest or index is `root` is here in full.

    Args:
        root: what the tag names
        is_held: whether a blob is here
        manifest: reads and parses a manifest that is held

    Raises:
        InvalidManifestError: `root` itself is not a manifest. A bad manifest further
            down only makes its own branch incomplete.
    """
    visit = _Visit(is_held, manifest)
    visit.looked_at[root] = None
    is_whole = is_held(root) and visit.judge(manifest(root))
    return Wholeness(is_whole, tuple(visit.looked_at))


class _Visit:
    """One walk over the tree of an image; remembers what it saw, so that shared parts cost nothing."""

    def __init__(self, is_held: Callable[[Digest], bool], manifest: Callable[[Digest], Manifest]) -> None:
        self._is_held = is_held
        self._manifest = manifest
        self._verdicts: dict[Digest, bool] = {}
        self.looked_at: dict[Digest, None] = {}

    def judge(self, manifest: Manifest, depth: int = 0) -> bool:
        # Lists, not generators: a walk that stops at the first absent part would leave
        # the others out of looked_at.
        if manifest.kind is not ManifestKind.INDEX:
            parts = [self._holds(part.digest) for part in manifest.children]
            return all(parts)
        entries = [entry.descriptor for entry in manifest.manifests if not entry.is_attestation]
        # buildkit's cache is an index that names layers: those are parts, not platforms.
        parts = [self._holds(entry.digest) for entry in entries if entry.media_type not in MANIFESTS]
        images = [self._branch(entry.digest, depth) for entry in entries if entry.media_type in MANIFESTS]
        return all(parts) and (any(images) or not images)

    def _holds(self, digest: Digest) -> bool:
        self.looked_at[digest] = None
        return self._is_held(digest)

    def _branch(self, digest: Digest, depth: int) -> bool:
        if digest not in self._verdicts:
            may_descend = depth < MAX_DEPTH and len(self._verdicts) < MAX_MANIFESTS_VISITED
            self._verdicts[digest] = self._holds(digest) and may_descend and self._read(digest, depth + 1)
        return self._verdicts[digest]

    def _read(self, digest: Digest, depth: int) -> bool:
        try:
            return self.judge(self._manifest(digest), depth)
        except InvalidManifestError:
            return False
