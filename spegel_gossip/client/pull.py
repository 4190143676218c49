"""Pulls an image into a content store: manifests, then blobs a few at a time, the tag last."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import trio

from spegel_gossip.client import manifests
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.download import Download
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import NoSuchPlatformError, RegistryProtocolError, TransientError
from spegel_gossip.client.manifests import BlobSource, VerifiedManifest
from spegel_gossip.client.platforms import choose
from spegel_gossip.client.progress import Outcome, Progress, Role
from spegel_gossip.client.session import Session
from spegel_gossip.client.sources import Sources
from spegel_gossip.client.together import run_together
from spegel_gossip.content import ContentMismatchError, ContentWriter
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import IndexEntry, ManifestKind, Platform
from spegel_gossip.oci.media_type import MANIFESTS
from spegel_gossip.oci.reference import Reference, TagName

MAX_MANIFESTS = 512
"""Manifests of one image that are fetched; real indexes have a few dozen entries."""

MAX_DEPTH = 4
"""Indexes within indexes; nobody was seen to nest more than two."""

SHOWN_HEX = 12
"""Digits of a digest in the tag of an image that was pulled by it, as docker shortens them."""


class Puller:
    """Pulls images from registries into one store, through its two sides: what reads and what writes."""

    def __init__(
        self,
        session: Session,
        store: BlobSource,
        writer: ContentWriter,
        config: ClientConfig,
        progress: Progress,
        rng: random.Random,
    ) -> None:
        """Take the session, the store and who is told; the caller closes what it opened."""
        self._session = session
        self._store = store
        self._writer = writer
        self._config = config
        self._progress = progress
        self._rng = rng

    async def pull(
        self, reference: Reference, endpoints: Sequence[Endpoint], platform: Platform | None
    ) -> Descriptor:
        """Pull an image and return the descriptor of what the reference names.

        When it is cancelled or fails, whatever arrived stays in the store's ingests, and
        the next pull goes on from there.

        Args:
            reference: the image
            endpoints: whom to ask, in order
            platform: what to take out of an index; None for all of it

        Raises:
            ClientError: it cannot be had; the message says why and what to do.
            ContentStoreError: it cannot be stored.
        """
        sources = Sources(endpoints, self._config, self._rng, self._progress)
        walk = _Walk(self._session, self._store, self._writer, self._progress, sources, reference, platform)
        root = await walk.root()
        await walk.visit(root, depth=0)
        await run_together(
            [(walk.fetch_blob, blob, role) for blob, role in walk.blobs.items()],
            at_once=self._config.blobs_at_once,
        )
        await self._writer.tag(local_tag(reference, root.descriptor.digest), root.descriptor)
        return root.descriptor


def local_tag(reference: Reference, digest: Digest) -> TagName:
    """Return the tag under which an image is kept; one pulled by digest alone gets a made one.

    Without a tag it would be nobody's, and `gc` would take it.
    """
    if reference.tag_name is not None:
        return reference.tag_name
    return TagName.make(reference.registry, reference.repository, f"by-digest-{digest.hex[:SHOWN_HEX]}")


class _Walk:
    """One walk down the tree of an image, from what its reference names to its blobs."""

    def __init__(
        self,
        session: Session,
        store: BlobSource,
        writer: ContentWriter,
        progress: Progress,
        sources: Sources,
        reference: Reference,
        platform: Platform | None,
    ) -> None:
        self._session = session
        self._store = store
        self._writer = writer
        self._progress = progress
        self._sources = sources
        self._reference = reference
        self._platform = platform
        self._seen: dict[Digest, None] = {}
        self.blobs: dict[Descriptor, Role] = {}

    async def root(self) -> VerifiedManifest:
        if self._reference.digest is not None:
            return await self._get(self._reference.digest)
        tag = self._reference.tag or ""
        return await manifests.fetch(self._session, self._sources, self._reference.repository, tag)

    async def visit(self, manifest: VerifiedManifest, *, depth: int) -> None:
        """Store a manifest and those below it, and note their blobs."""
        if manifest.descriptor.digest in self._seen:
            return
        self._seen[manifest.descriptor.digest] = None
        if len(self._seen) > MAX_MANIFESTS or depth > MAX_DEPTH:
            raise RegistryProtocolError(
                f"{self._reference} has more than {MAX_MANIFESTS} manifests or {MAX_DEPTH} levels of them"
            )
        await self._store_manifest(manifest)
        parsed = manifest.parsed
        if parsed.kind is not ManifestKind.INDEX:
            if parsed.config is not None:
                self.blobs.setdefault(parsed.config, Role.CONFIG)
            for layer in parsed.layers:
                self.blobs.setdefault(layer, Role.LAYER)
            return
        for entry in self._wanted(parsed.manifests):
            if entry.descriptor.media_type in MANIFESTS:
                await self.visit(await self._get(entry.descriptor.digest), depth=depth + 1)
            else:
                # buildkit's cache is an index that names layers.
                self.blobs.setdefault(entry.descriptor, Role.LAYER)

    def _wanted(self, entries: Sequence[IndexEntry]) -> Iterable[IndexEntry]:
        offered = [str(entry.platform) for entry in entries if entry.platform and not entry.is_attestation]
        if self._platform is None or not offered:
            return entries
        chosen = choose(entries, self._platform)
        if chosen is None:
            raise NoSuchPlatformError(
                str(self._reference), str(self._platform), sorted(dict.fromkeys(offered))
            )
        return (chosen,)

    async def _get(self, digest: Digest) -> VerifiedManifest:
        held = await manifests.read_held(self._store, digest)
        if held is not None:
            return held
        return await manifests.fetch(self._session, self._sources, self._reference.repository, digest)

    async def _store_manifest(self, manifest: VerifiedManifest) -> None:
        blob = manifest.descriptor
        role = Role.INDEX if manifest.parsed.kind is ManifestKind.INDEX else Role.MANIFEST
        ingest = await self._writer.open_ingest(f"{role.value}-{blob.digest}", blob.digest, blob.size)
        if ingest is None:
            self._progress.end(blob, role, Outcome.HELD)
            return
        try:
            await ingest.write(manifest.content[ingest.offset :])
            await ingest.commit()
        except ContentMismatchError as exc:
            # These bytes were verified: the beginning that an earlier run left was not theirs.
            raise TransientError(f"an earlier attempt left a damaged {blob.digest}: try again") from exc
        finally:
            with trio.CancelScope(shield=True):
                await ingest.keep()
        self._progress.begin(blob, role, offset=0)
        self._progress.move(blob.digest, blob.size, manifest.source)
        self._progress.end(blob, role, Outcome.MOVED)

    async def fetch_blob(self, blob: Descriptor, role: Role) -> None:
        """Bring one blob into the store."""
        ingest = await self._writer.open_ingest(f"{role.value}-{blob.digest}", blob.digest, blob.size)
        if ingest is None:
            self._progress.end(blob, role, Outcome.HELD)
            return
        self._progress.begin(blob, role, offset=ingest.offset)
        download = Download(
            self._session,
            self._writer,
            self._progress,
            blob=blob,
            role=role,
            repository=self._reference.repository,
            ingest=ingest,
        )
        try:
            await self._sources.get(download.attempt, position=lambda: download.offset)
        finally:
            await download.close()
        self._progress.end(blob, role, Outcome.MOVED)
