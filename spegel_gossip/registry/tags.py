"""What a tag names: the newest observation among this node's and the cluster's.

An observation is upstream's word at some time. What this node pulled through its own
mirror is no news about upstream: it inherits the time of what the mirror answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.content import ContentNotFoundError, ContentStore, ContentStoreError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry import metrics
from spegel_gossip.routing import Router, RoutingError


@dataclass(frozen=True, slots=True)
class Observation:
    """That a tag named a digest."""

    digest: Digest
    observed_at: float
    """When upstream said so, unix seconds; 0 if nobody knows."""


class Tags:
    """Resolves tags, and tells the router what was answered."""

    def __init__(self, *, store: ContentStore, router: Router) -> None:
        self._store = store
        self._router = router

    async def observations(self, name: TagName) -> list[Observation]:
        """Return what the tag may name, newest first: one observation a digest, at least one in all.

        Raises:
            RoutingError: neither this node nor the cluster knows the tag.
        """
        local = await self._observe_here(name)
        try:
            found = await self._router.lookup_tag(name)
        except RoutingError:
            if local is None:
                raise
            return [local]
        cluster = Observation(found.digest, found.observed_at)
        if local is None or local.digest == cluster.digest:
            # The directory knows of our own record too, with the time that was inherited.
            return [cluster]
        return sorted([cluster, local], key=lambda seen: seen.observed_at, reverse=True)

    def answered(self, name: TagName, observation: Observation | None) -> None:
        """Tell what this node's containerd was told; None for "ask upstream"."""
        self._router.tag_answered(name, None if observation is None else observation.observed_at)

    async def _observe_here(self, name: TagName) -> Observation | None:
        try:
            held = await self._store.resolve(name)
        except ContentNotFoundError:
            return None
        except ContentStoreError:
            metrics.STORE_FAILURES.inc()
            return None
        observed_at = self._router.tag_observed_at(name, held.target.digest)
        return None if observed_at is None else Observation(held.target.digest, observed_at)
