"""Manifests that were fetched and verified: kept a while, and fetched once however many ask."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import RoutingError
from spegel_gossip.transfer import metrics


class VerifiedManifests:
    """The least recently used go first, by bytes. Content-addressed, so never stale."""

    def __init__(self, *, max_bytes: int) -> None:
        """Start empty."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._manifests: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        """Return a manifest if it is kept."""
        data = self._manifests.get(digest)
        if data is not None:
            self._manifests.move_to_end(digest)
        return data

    def put(self, digest: Digest, data: bytes) -> None:
        """Keep a manifest that was verified, at the cost of older ones."""
        if digest in self._manifests or len(data) > self._max_bytes:
            return
        self._manifests[digest] = data
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            _, dropped = self._manifests.popitem(last=False)
            self._bytes -= len(dropped)


class _Flight:
    """One fetch that others wait for."""

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.failure: RoutingError | None = None


class SingleFlight:
    """Fetches each manifest once, whoever asks for it meanwhile."""

    def __init__(self, cache: VerifiedManifests, fetch: Callable[[Digest], Awaitable[bytes]]) -> None:
        """Put `cache` in front of `fetch`, which returns verified bytes or raises RoutingError."""
        self._cache = cache
        self._fetch = fetch
        self._flights: dict[Digest, _Flight] = {}

    async def get(self, digest: Digest) -> bytes:
        """Return a manifest from memory, from a fetch under way, or from a new one.

        Raises:
            RoutingError: the fetch failed; whoever waited for it fails with it.
        """
        while True:
            data = self._cache.get(digest)
            if data is not None:
                metrics.MANIFEST_CACHE_HITS.inc()
                return data
            flight = self._flights.get(digest)
            if flight is None:
                return await self._lead(digest)
            await flight.landed.wait()
            if flight.failure is not None:
                raise flight.failure
            # Here again without bytes: the leader was cancelled with its client (or its manifest
            # is too large to keep), so the next in line leads.

    async def _lead(self, digest: Digest) -> bytes:
        flight = self._flights[digest] = _Flight()
        try:
            data = await self._fetch(digest)
            self._cache.put(digest, data)
        except RoutingError as exc:
            flight.failure = exc
            raise
        else:
            return data
        finally:
            del self._flights[digest]
            flight.landed.set()
