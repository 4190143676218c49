"""Pushes an image from a content store to a registry: blobs first, then manifests, the tag last."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spegel_gossip.client import manifests
from spegel_gossip.client.answers import MAX_ERROR_BYTES
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import (
    IncompleteImageError,
    NoSuchPlatformError,
    NotThereError,
    RegistryProtocolError,
)
from spegel_gossip.client.manifests import BlobSource, VerifiedManifest
from spegel_gossip.client.platforms import choose
from spegel_gossip.client.progress import Outcome, Progress, Role
from spegel_gossip.client.session import Ask, Session
from spegel_gossip.client.sources import Sources
from spegel_gossip.client.together import run_together
from spegel_gossip.client.upload import Upload
from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import ManifestKind, Platform
from spegel_gossip.oci.media_type import MANIFESTS
from spegel_gossip.oci.reference import Reference

MAX_MANIFESTS = 512
"""Manifests of one image that are pushed: as many as `pull` fetches."""

MAX_DEPTH = 4


class Pusher:
    """Pushes images from one store."""

    def __init__(
        self,
        session: Session,
        store: BlobSource,
        config: ClientConfig,
        progress: Progress,
        rng: random.Random,
    ) -> None:
        """Take the session, the store and who is told; the caller closes what it opened."""
        self._session = session
        self._store = store
        self._config = config
        self._progress = progress
        self._rng = rng

    async def push(
        self,
        root: Digest,
        reference: Reference,
        endpoint: Endpoint,
        *,
        platform: Platform | None = None,
        mount_from: Sequence[str] = (),
    ) -> Descriptor:
        """Push an image and return the descriptor of what the reference then names.

        Args:
            root: the manifest or index to push
            reference: what to call it; without a tag it is pushed by digest
            endpoint: the registry
            platform: of an index, push only the image for it
            mount_from: repositories of the same registry that may have its blobs

        Raises:
            IncompleteImageError: the store lacks part of it.
            ClientError: the registry does not take it.
        """
        sources = Sources([endpoint], self._config, self._rng, self._progress)
        tree = _Tree(self._store)
        top = await self._top(tree, root, platform)
        if reference.digest not in {None, top.descriptor.digest}:
            raise IncompleteImageError(
                f"{reference} names another digest than the image, {top.descriptor.digest}: leave it out"
            )
        await tree.visit(top)
        target = _Target(
            self._session, self._store, self._config, self._progress, sources, reference.repository
        )
        await run_together(
            [(target.push_blob, blob, role, mount_from) for blob, role in tree.blobs.items()],
            at_once=self._config.blobs_at_once,
        )
        # Children before parents: a registry refuses a manifest that names what it lacks.
        for manifest in reversed(tree.manifests):
            is_top = manifest is top
            await target.push_manifest(
                manifest, (reference.tag if is_top else None) or str(manifest.descriptor.digest)
            )
        return top.descriptor

    async def _top(self, tree: _Tree, root: Digest, platform: Platform | None) -> VerifiedManifest:
        manifest = await tree.read(root)
        for _ in range(MAX_DEPTH):
            if platform is None or manifest.parsed.kind is not ManifestKind.INDEX:
                break
            entries = manifest.parsed.manifests
            chosen = choose(entries, platform)
            if chosen is None:
                offered = [str(entry.platform) for entry in entries if entry.platform]
                raise NoSuchPlatformError(str(root), str(platform), offered)
            manifest = await tree.read(chosen.descriptor.digest)
        return manifest


class _Tree:
    """All that an image in the store consists of, parents before their children."""

    def __init__(self, store: BlobSource) -> None:
        self._store = store
        self.manifests: list[VerifiedManifest] = []
        self.blobs: dict[Descriptor, Role] = {}
        self._seen: dict[Digest, None] = {}

    async def read(self, digest: Digest, *, of: str = "") -> VerifiedManifest:
        manifest = await manifests.read_held(self._store, digest)
        if manifest is None:
            raise IncompleteImageError(
                f"the layout lacks the manifest {digest}{of}: pull the image with --all-platforms, "
                "or push one platform of it with --platform"
            )
        return manifest

    async def visit(self, manifest: VerifiedManifest, *, depth: int = 0) -> None:
        if manifest.descriptor.digest in self._seen:
            return
        self._seen[manifest.descriptor.digest] = None
        if len(self._seen) > MAX_MANIFESTS or depth > MAX_DEPTH:
            raise RegistryProtocolError(
                f"the image has more than {MAX_MANIFESTS} manifests or {MAX_DEPTH} levels of them"
            )
        self.manifests.append(manifest)
        parsed = manifest.parsed
        if parsed.config is not None:
            self.blobs.setdefault(parsed.config, Role.CONFIG)
        for layer in parsed.layers:
            self.blobs.setdefault(layer, Role.LAYER)
        for entry in parsed.manifests:
            if entry.descriptor.media_type in MANIFESTS:
                of = f" for {entry.platform}" if entry.platform and not entry.is_attestation else ""
                await self.visit(await self.read(entry.descriptor.digest, of=of), depth=depth + 1)
            else:
                self.blobs.setdefault(entry.descriptor, Role.LAYER)


class _Target:
    """One repository that is pushed to."""

    def __init__(
        self,
        session: Session,
        store: BlobSource,
        config: ClientConfig,
        progress: Progress,
        sources: Sources,
        repository: str,
    ) -> None:
        self._session = session
        self._store = store
        self._config = config
        self._progress = progress
        self._sources = sources
        self._repository = repository

    async def push_blob(self, blob: Descriptor, role: Role, mount_from: Sequence[str]) -> None:
        try:
            reader = await self._store.open(blob.digest)
        except ContentNotFoundError as exc:
            raise IncompleteImageError(
                f"the layout lacks {blob.digest}, a {role.value} of the image: pull the image into it again"
            ) from exc
        try:
            upload = Upload(
                self._session,
                self._config,
                self._progress,
                blob=blob,
                reader=reader,
                repository=self._repository,
                mount_from=mount_from,
            )
            self._progress.begin(blob, role, offset=0)
            await self._sources.get(upload.attempt, position=lambda: upload.position)
        finally:
            await reader.aclose()
        self._progress.end(blob, role, upload.outcome)

    async def push_manifest(self, manifest: VerifiedManifest, reference: str) -> None:
        blob = manifest.descriptor
        role = Role.INDEX if manifest.parsed.kind is ManifestKind.INDEX else Role.MANIFEST

        async def attempt(endpoint: Endpoint) -> Outcome:
            if await self._names_it(endpoint, reference, blob.digest):
                return Outcome.HELD
            await self._session.call(
                endpoint, self._ask("PUT", reference, manifest), max_bytes=MAX_ERROR_BYTES
            )
            self._progress.move(blob.digest, blob.size, endpoint.host)
            return Outcome.MOVED

        self._progress.begin(blob, role, offset=0)
        self._progress.end(blob, role, await self._sources.get(attempt))

    async def _names_it(self, endpoint: Endpoint, reference: str, digest: Digest) -> bool:
        try:
            answer, _ = await self._session.call(
                endpoint, self._ask("HEAD", reference), max_bytes=MAX_ERROR_BYTES
            )
        except NotThereError:
            return False
        return bool(answer.headers.get("docker-content-digest") == str(digest))

    def _ask(self, method: str, reference: str, manifest: VerifiedManifest | None = None) -> Ask:
        media_type = {} if manifest is None else {"Content-Type": manifest.descriptor.media_type}
        return Ask(
            method=method,
            url=f"/v2/{self._repository}/manifests/{reference}",
            what=f"the manifest {reference} of {self._repository}",
            scopes=(f"repository:{self._repository}:pull,push",),
            wanted=frozenset({200}) if manifest is None else frozenset({200, 201, 202, 204}),
            headers={"Accept": manifests.ACCEPT} | media_type,
            body=None if manifest is None else manifest.content,
        )
