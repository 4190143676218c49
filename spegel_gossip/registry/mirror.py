"""What the mirror answers: filters first, then what is here, then what other nodes have.

It decides and opens; it does not send. A 404 makes containerd ask the registry
itself, so every "nobody has it" ends in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from spegel_gossip.content import ContentStore
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.fetching import BlobFetcher
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.range import parse_range_header
from spegel_gossip.oci.reach import Reach
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.request import ApiRequest, BlobRequest, DistributionRequest, ManifestRequest
from spegel_gossip.registry import metrics
from spegel_gossip.registry.answer import Answer, Outcome, content_headers, entity_tag
from spegel_gossip.registry.blobs import Blobs
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.registry.errors import FilteredError, OutOfScopeError, TagLeftToUpstreamError
from spegel_gossip.registry.manifests import Manifests, VerifiedManifest
from spegel_gossip.registry.tags import Tags
from spegel_gossip.routing import Router, RoutingError

MAX_LOOKED_AHEAD = 256
"""Children of one manifest that are looked up in advance; an image has at most 127 layers and a config."""

_BY_DIGEST = {
    **dict.fromkeys(Outcome, "digest"),
    Outcome.LOCAL: "digest held here",
    Outcome.PEER: "digest held by another member",
}
_API_HEADERS = {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0"}


class Mirror:
    """Answers parsed requests."""

    def __init__(
        self,
        *,
        store: ContentStore,
        router: Router,
        fetcher: BlobFetcher,
        filters: ContentFilter,
        config: RegistryConfig,
        reach: Reach | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._router = router
        self._fetcher = fetcher
        self._filters = filters
        self._config = config
        self._reach = reach
        self._wall_clock = wall_clock
        self._blobs = Blobs(store=store, fetcher=fetcher)
        self._manifests = Manifests(store=store, fetcher=fetcher)
        self._tags = Tags(store=store, router=router)

    async def answer(
        self, request: DistributionRequest, *, is_head: bool, range_header: str | None, if_range: str | None
    ) -> Answer:
        """Return the answer to a request; the caller sends it and closes its body.

        Args:
            request: what was asked for
            is_head: whether only the head of the answer will be sent
            range_header: a GET's Range
            if_range: the entity tag on which that Range depends

        Raises:
            SpegelGossipError: there is none; `registry/errors.py` says how to tell.
        """
        if isinstance(request, ApiRequest):
            return Answer.of_bytes(200, b"{}", _API_HEADERS, outcome=Outcome.LOCAL)
        self._check_filters(request)
        self._check_scope(request)
        if isinstance(request, ManifestRequest):
            manifest, why = await self._manifest(request.reference, is_head=is_head)
            self._note_reach(request, (manifest.digest, *manifest.children))
            if not is_head:
                await self._look_ahead(manifest)
            return _answer_manifest(manifest).because(why)
        self._note_reach(request, (request.digest,))
        if is_head:
            answer = await self._blobs.head(request.digest)
        else:
            is_same = if_range is None or if_range == entity_tag(request.digest)
            requested = parse_range_header(range_header) if is_same else None
            answer = await self._blobs.get(request.digest, requested)
        return answer.because(_BY_DIGEST[answer.outcome])

    def _check_filters(self, request: ManifestRequest | BlobRequest) -> None:
        tag = None
        if isinstance(request, ManifestRequest) and isinstance(request.reference, TagName):
            tag = request.reference.tag
        if not self._filters.allows(request.registry, request.repository, tag):
            name = f"{request.registry}/{request.repository}"
            raise FilteredError(name if tag is None else f"{name}:{tag}")

    def _check_scope(self, request: ManifestRequest | BlobRequest) -> None:
        digest = request.reference if isinstance(request, ManifestRequest) else request.digest
        if self._reach is None or not self._config.repository_scope or isinstance(digest, TagName):
            return
        if not self._reach.reaches(request.registry, request.repository, digest):
            raise OutOfScopeError(f"{request.registry}/{request.repository}", digest)

    def _note_reach(self, request: ManifestRequest | BlobRequest, digests: Sequence[Digest]) -> None:
        if self._reach is not None:
            self._reach.add(request.registry, request.repository, digests)

    async def _manifest(self, reference: Digest | TagName, *, is_head: bool) -> tuple[VerifiedManifest, str]:
        """Return a manifest, and why it is this one."""
        if isinstance(reference, Digest):
            manifest = await self._manifests.get(reference, may_lease=not is_head)
            return manifest, _BY_DIGEST[manifest.outcome]
        try:
            return await self._manifest_of_tag(reference)
        except SpegelGossipError:
            self._tags.answered(reference, None)
            raise

    async def _manifest_of_tag(self, name: TagName) -> tuple[VerifiedManifest, str]:
        """Return the manifest of the newest acceptable observation that can really be had."""
        policy = self._config.tag_policies.policy_of(name)
        failure: SpegelGossipError = TagLeftToUpstreamError(name)
        if policy.is_never:
            metrics.TAGS_REFUSED.labels(policy.kind).inc()
            raise failure
        now = self._wall_clock()
        for observation in await self._tags.observations(name):
            if policy.accepts(observation.observed_at, now):
                try:
                    manifest = await self._manifests.get(observation.digest, may_lease=False)
                except RoutingError as exc:
                    failure = exc
                else:
                    self._tags.answered(name, observation)
                    age = f"seen {max(0.0, now - observation.observed_at):.0f} s ago"
                    return manifest, f"tag by {policy}, {age if observation.observed_at else 'age unknown'}"
        if isinstance(failure, TagLeftToUpstreamError):
            metrics.TAGS_REFUSED.labels(policy.kind).inc()
        raise failure

    async def _look_ahead(self, manifest: VerifiedManifest) -> None:
        held = self._store.blobs()
        lacking = ((child, size) for child, size in manifest.children.items() if child not in held)
        if parts := dict(islice(lacking, MAX_LOOKED_AHEAD)):
            # Who ingests the manifest is the node's containerd, and ingests what it names as well. Others
            # (curl, skopeo, docker) ingest nothing.
            has_ingests = await self._fetcher.spreads(manifest.digest)
            self._router.lookup_ahead(parts, has_ingests=has_ingests)


def _answer_manifest(manifest: VerifiedManifest) -> Answer:
    length = len(manifest.content)
    headers = content_headers(manifest.digest, manifest.media_type, length, source=manifest.source)
    return Answer(200, headers, manifest.content, manifest.outcome)
