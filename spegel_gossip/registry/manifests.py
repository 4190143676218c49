"""Manifests: read whole, verified, and kept for the requests that follow.

A client acts on a manifest before anybody could tell it that the bytes were wrong,
so none leaves here that does not have its digest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from spegel_gossip.content import BlobReader, ContentNotFoundError, ContentStore, ContentStoreError
from spegel_gossip.fetching import BlobFetcher
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES, parse_manifest_untrusted
from spegel_gossip.registry import metrics
from spegel_gossip.registry.answer import LOCAL, PEER, Outcome
from spegel_gossip.registry.errors import NotAManifestError

log = structlog.get_logger(__name__)

MAX_CACHED_BYTES = 4 * 1024 * 1024
"""Bytes of manifests kept in memory: an image's are a few KiB, so this is hundreds of images."""

MAX_CACHED_MANIFEST_BYTES = 256 * 1024
"""A manifest larger than this is not kept: one odd image must not push all others out."""


@dataclass(frozen=True, slots=True)
class VerifiedManifest:
    """A manifest whose bytes have its digest."""

    digest: Digest
    content: bytes
    media_type: str
    children: Mapping[Digest, int]
    """What it names as its parts, in the order in which a client asks for them, and their sizes in bytes."""

    outcome: Outcome
    """Where it was found when it was read."""

    @property
    def source(self) -> str:
        """The value of the header that says where it came from."""
        return LOCAL if self.outcome is Outcome.LOCAL else PEER


class Manifests:
    """Gets manifests by digest."""

    def __init__(self, *, store: ContentStore, fetcher: BlobFetcher) -> None:
        self._store = store
        self._fetcher = fetcher
        self._cached: OrderedDict[Digest, VerifiedManifest] = OrderedDict()
        self._cached_bytes = 0

    async def get(self, digest: Digest, *, may_lease: bool) -> VerifiedManifest:
        """Return a manifest, from memory, the local store or another node.

        Args:
            digest: of the manifest
            may_lease: as for `BlobFetcher.fetch_manifest`

        Raises:
            RoutingError: nobody has it.
            NotAManifestError: there is such content, of another kind.
        """
        cached = self._cached.get(digest)
        if cached is not None:
            self._cached.move_to_end(digest)
            # Fetched from a peer once, and committed here since.
            return replace(cached, outcome=Outcome.LOCAL) if digest in self._store.blobs() else cached
        outcome, content = Outcome.LOCAL, await self._read_local(digest)
        if content is None:
            content = await self._fetcher.fetch_manifest(digest, may_lease=may_lease)
            outcome = Outcome.PEER
        try:
            parsed = parse_manifest_untrusted(content)
        except InvalidManifestError as exc:
            raise NotAManifestError(digest) from exc
        children = {child.digest: child.size for child in parsed.children}
        manifest = VerifiedManifest(digest, content, parsed.media_type, children, outcome)
        self._keep(manifest)
        return manifest

    async def _read_local(self, digest: Digest) -> bytes | None:
        """Return the verified bytes of content held here, or None if others must be asked."""
        try:
            reader = await self._store.open(digest)
            try:
                if reader.size > MAX_MANIFEST_BYTES:
                    raise NotAManifestError(digest)
                content = await _read_all(reader)
            finally:
                await reader.aclose()
        except ContentNotFoundError:
            return None
        except ContentStoreError:
            metrics.STORE_FAILURES.inc()
            return None
        if not digest.matches(content):
            metrics.CORRUPT_MANIFESTS.inc()
            log.warning(
                "a manifest in the local store is damaged; asking other nodes: remove it, "
                "for example with `ctr -n k8s.io content rm`",
                digest=str(digest),
            )
            return None
        return content

    def _keep(self, manifest: VerifiedManifest) -> None:
        if len(manifest.content) > MAX_CACHED_MANIFEST_BYTES:
            return
        # A second request may have read the same manifest meanwhile.
        replaced = self._cached.pop(manifest.digest, None)
        self._cached_bytes += len(manifest.content) - (0 if replaced is None else len(replaced.content))
        self._cached[manifest.digest] = manifest
        while self._cached_bytes > MAX_CACHED_BYTES:
            _, dropped = self._cached.popitem(last=False)
            self._cached_bytes -= len(dropped.content)


async def _read_all(reader: BlobReader) -> bytes:
    content = bytearray()
    while len(content) < reader.size:
        data = await reader.read_at(len(content), reader.size - len(content))
        if not data:
            break
        content += data
    return bytes(content)
