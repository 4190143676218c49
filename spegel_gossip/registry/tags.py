"""What a tag names: the newest observation among this node's and the cluster's.

An observation is upstream's word at some time. What this node pulled through its own
mirror is no news about upstream: it inherits the time of what the mirror answered.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from spegel_gossip.content import ContentNotFoundError, ContentStore, ContentStoreError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry import metrics
from spegel_gossip.routing import Router, RoutingError

MAX_ANSWERED_TAGS = 4_096
"""Tags whose last answer is remembered; a node runs a few hundred images at most."""


@dataclass(frozen=True, slots=True)
class Observation:
    """That a tag named a digest."""

    digest: Digest
    observed_at: float
    """When upstream said so, unix seconds; 0 if nobody knows."""


class Tags:
    """Resolves tags, and remembers what was answered."""

    def __init__(self, *, store: ContentStore, router: Router) -> None:
        self._store = store
        self._router = router
        self._answered: OrderedDict[TagName, Observation] = OrderedDict()

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
        """Remember what this node's containerd was told; None for "ask upstream"."""
        self._answered.pop(name, None)
        if observation is not None:
            self._answered[name] = observation
            if len(self._answered) > MAX_ANSWERED_TAGS:
                self._answered.popitem(last=False)
        self._router.tag_answered(name, None if observation is None else observation.observed_at)

    async def _observe_here(self, name: TagName) -> Observation | None:
        try:
            held = await self._store.resolve(name)
        except ContentNotFoundError:
            return None
        except ContentStoreError:
            metrics.STORE_FAILURES.inc()
            return None
        answered = self._answered.get(name)
        if answered is not None and answered.digest == held.target.digest:
            return answered
        return Observation(held.target.digest, held.updated_at)
