"""What a pull of an image on this node would do now, blob by blob, and why."""

from __future__ import annotations

import platform
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from spegel_gossip.admin.explained import (
    DecisionShape,
    ExplainedArrivalShape,
    ExplainedHolderShape,
    ExplainedLeaseShape,
    ExplainedOwnerShape,
    ExplainedPartShape,
    ExplainedTagShape,
    ExplainShape,
    PurgeShape,
)
from spegel_gossip.admin.keys import parse_key
from spegel_gossip.content import ContentStoreError
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.lookup.snapshots import KeyView
from spegel_gossip.node.assembly import Parts
from spegel_gossip.node.decisions import KnownTag, Standpoint, decide_blob, decide_tag, left_to_upstream
from spegel_gossip.node.reading import read_manifest
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError, InvalidReferenceError
from spegel_gossip.oci.manifest import Manifest, ManifestKind, parse_manifest_untrusted
from spegel_gossip.oci.reference import Reference, TagName
from spegel_gossip.oci.tag_policy import TagPolicy

MAX_PARTS: Final = 256
"""Blobs that are explained of one image; the largest images have half as many."""

MAX_PLATFORMS: Final = 4
"""Images of an index that are looked into where none is for this machine."""

SURVEYS_AT_ONCE: Final = 16
"""Blobs whose owners are asked at the same time."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_DIGEST_PREFIXES: Final = ("sha256:", "sha512:")

Handler = Callable[[Mapping[str, str]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Part:
    """A blob of the image, and what it is in it."""

    role: str
    digest: Digest
    size: int = 0
    platform: str = ""


class Explainer:
    """Explains images, and purges tags."""

    def __init__(self, parts: Parts) -> None:
        """Take the running parts."""
        self._parts = parts

    def snapshots(self) -> dict[str, Handler]:
        """Return what can be asked, by name."""
        return {"explain": self.explain}

    def commands(self) -> dict[str, Handler]:
        """Return what can be done, by name."""
        return {"purge": self.purge}

    async def purge(self, arguments: Mapping[str, str]) -> PurgeShape:
        """Have the cluster forget what a tag names.

        Raises:
            InvalidReferenceError: no tag was given.
        """
        name = parse_key(arguments.get("tag", ""))
        if not isinstance(name, TagName):
            raise InvalidReferenceError(str(name), "a digest always names the same: only tags are purged")
        view = await self._parts.lookup.purge(name)
        return {"tag": str(view.name), "at": view.at, "members": view.members, "told": view.told}

    async def explain(self, query: Mapping[str, str]) -> ExplainShape:
        """Return what is known of an image, and what a pull would do.

        Raises:
            InvalidReferenceError: no image was given, or it is not one.
        """
        text = query.get("image", "")
        if not text:
            raise InvalidReferenceError(text, "ask with ?image= and an image's name or a digest")
        shape: ExplainShape = {"image": text, "node": self._parts.config.node_name, "parts": []}
        # By the grammar `sha256:ab` is a tag too; nobody means that.
        reference = None if text.startswith(_DIGEST_PREFIXES) else Reference.parse(text)
        root = Digest.parse(text) if reference is None else reference.digest
        if reference is not None and root is None and reference.tag_name is not None:
            shape["tag"], root = await self._tag(reference.tag_name)
        if root is not None:
            shape["parts"] = await self._explain_all(await self._parts_of(root), reference)
        return shape

    async def _tag(self, name: TagName) -> tuple[ExplainedTagShape, Digest | None]:
        parts = self._parts
        view = await parts.lookup.survey(name)
        policy = parts.config.tag_policies.policy_of(name)
        seen = {naming.digest: naming.observed_at for naming in view.namings}
        local = await self._local(name)
        if local is not None:
            seen.setdefault(str(local[0]), local[1])
        newest = max(seen, key=lambda digest: seen[digest], default="")
        known = KnownTag(newest, seen.get(newest, 0.0))
        decision = self._decide_tag(name, known, policy, view)
        tag: ExplainedTagShape = {
            "name": str(name),
            "policy": str(policy),
            "digest": known.digest,
            "observed_at": known.observed_at,
            "purged_at": view.purged_at,
            "namings": [
                {"digest": one.digest, "observed_at": one.observed_at, "holders": list(one.holders)}
                for one in view.namings
            ],
            "owners": self._owners(view),
            "holders": self._holders(view),
            "decision": decision,
        }
        return tag, Digest.parse(newest) if newest else None

    async def _local(self, name: TagName) -> tuple[Digest, float] | None:
        try:
            held = await self._parts.store.resolve(name)
        except ContentStoreError:
            return None
        observed_at = self._parts.lookup.tag_observed_at(name, held.target.digest)
        return None if observed_at is None else (held.target.digest, observed_at)

    async def _parts_of(self, root: Digest) -> list[_Part]:
        manifest = await self._manifest(root)
        if manifest is None:
            return [_Part("blob", root)]
        if manifest.kind is not ManifestKind.INDEX:
            return [_Part("manifest", root), *_children(manifest)]
        parts = [_Part("index", root)]
        for entry in _of_this_machine(manifest):
            parts.append(_Part("manifest", entry[0].digest, entry[0].size, entry[1]))
            image = await self._manifest(entry[0].digest)
            parts += [] if image is None else _children(image)
        return parts[:MAX_PARTS]

    async def _manifest(self, digest: Digest) -> Manifest | None:
        content = await read_manifest(self._parts.store, digest)
        try:
            if content is None:
                content = await self._parts.fetcher.fetch_manifest(digest, may_lease=False)
            return parse_manifest_untrusted(content)
        except InvalidManifestError:
            return None
        except SpegelGossipError:
            # Nobody has it, or nobody could be asked: the survey says which.
            return None

    async def _explain_all(
        self, parts: Sequence[_Part], reference: Reference | None
    ) -> list[ExplainedPartShape]:
        limiter = trio.CapacityLimiter(SURVEYS_AT_ONCE)
        explained: dict[int, ExplainedPartShape] = {}

        async def explain(number: int, part: _Part) -> None:
            async with limiter:
                view = await self._parts.lookup.survey(part.digest)
            explained[number] = {
                "role": part.role,
                "digest": str(part.digest),
                "size": part.size or view.size or self._parts.store.blobs().get(part.digest, 0),
                "platform": part.platform,
                "owners": self._owners(view),
                "holders": self._holders(view),
                "leases": _leases(view),
                "partials": self._partials(view),
                "waiting": view.spreading.waiting,
                "decision": self._decide_blob(part.digest, view, reference),
            }

        async with trio.open_nursery() as nursery:
            for number, part in enumerate(parts):
                nursery.start_soon(explain, number, part)
        return [explained[number] for number in range(len(parts))]

    def _decide_tag(self, name: TagName, known: KnownTag, policy: TagPolicy, view: KeyView) -> DecisionShape:
        if not self._parts.config.content_filter.allows_tag(name):
            return left_to_upstream("a filter keeps it out of this mirror")
        here = self._standpoint(Digest.parse(known.digest) if known.digest else None, ())
        return decide_tag(known, policy, view, here, time.time())

    def _decide_blob(self, digest: Digest, view: KeyView, reference: Reference | None) -> DecisionShape:
        config = self._parts.config
        if reference is not None:
            names = (reference.registry, reference.repository)
            if not config.content_filter.allows(*names):
                return left_to_upstream("a filter keeps its repository out of this mirror")
            if config.repository_scope and not self._parts.reach.reaches(*names, digest):
                return left_to_upstream(
                    "no image of its repository on this node reaches it (--repository-scope)"
                )
        return decide_blob(view, self._standpoint(digest, self._parts.lookup.would_ask(view)))

    def _standpoint(self, digest: Digest | None, would_ask: tuple[str, ...]) -> Standpoint:
        config = self._parts.config
        return Standpoint(
            name=config.node_name,
            zone=config.zone,
            has_swarm=config.swarm,
            holds=digest is not None and digest in self._parts.store.blobs(),
            would_ask=would_ask,
        )

    def _owners(self, view: KeyView) -> list[ExplainedOwnerShape]:
        return [
            {
                "name": owner.name,
                "state": self._state_of(owner.name),
                "answered": owner.has_answered,
                "young": owner.is_young,
                "agrees": owner.has_same_view,
                "hidden": list(owner.hidden),
            }
            for owner in view.owners
        ]

    def _holders(self, view: KeyView) -> list[ExplainedHolderShape]:
        return [
            {
                "name": holder.name,
                "zone": holder.zone,
                "kind": "complete" if holder.is_complete else "partial",
                "state": self._state_of(holder.name),
            }
            for holder in view.holders
        ]

    def _partials(self, view: KeyView) -> list[ExplainedArrivalShape]:
        return [
            {
                "name": one.name,
                "zone": one.zone,
                "state": self._state_of(one.name),
                "offset": one.offset,
                "total": one.total,
                "reads_from": one.reads_from,
            }
            for one in view.spreading.arrivals
        ]

    def _state_of(self, name: str) -> str:
        member = self._parts.gossip.get(name)
        return "unknown" if member is None else member.state.name.lower()


def _leases(view: KeyView) -> list[ExplainedLeaseShape]:
    return [
        {"holder": one.name, "offset": one.offset, "total": one.total, "age": one.lease_age}
        for one in view.spreading.arrivals
        if one.lease_age is not None
    ]


def _children(manifest: Manifest) -> list[_Part]:
    config = (
        [] if manifest.config is None else [_Part("config", manifest.config.digest, manifest.config.size)]
    )
    return [*config, *(_Part("layer", layer.digest, layer.size) for layer in manifest.layers)]


def _of_this_machine(index: Manifest) -> list[tuple[Descriptor, str]]:
    """Return the images of an index that this machine would pull, or the first few where none is."""
    own = _ARCHITECTURES.get(platform.machine(), platform.machine())
    images = [entry for entry in index.manifests if not entry.is_attestation]
    fitting = [one for one in images if one.platform is not None and one.platform.architecture == own]
    return [(one.descriptor, str(one.platform or "")) for one in (fitting or images)[:MAX_PLATFORMS]]
