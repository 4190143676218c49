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
    """Fetches each manifest once, whoever asks for it meanwhile.

    Those who may be told to fetch it themselves and those who may not are two parties: the
    "nobody has it" that a HEAD gets must not be passed on to a GET, whose 404 is to be a counted one.
    """

    def __init__(self, cache: VerifiedManifests, fetch: Callable[[Digest, bool], Awaitable[bytes]]) -> None:
        """Put `cache` in front of `fetch`, which returns verified bytes or raises RoutingError.

        Its second argument says whether the manifest may be leased to this node.
        """
        self._cache = cache
        self._fetch = fetch
        self._flights: dict[tuple[Digest, bool], _Flight] = {}

    async def get(self, digest: Digest, *, may_lease: bool) -> bytes:
        """Return a manifest from memory, from a fetch under way, or from a new one.

        Raises:
            RoutingError: the fetch failed; whoever waited for it fails with it.
        """
        while True:
            data = self._cache.get(digest)
            if data is not None:
                metrics.MANIFEST_CACHE_HITS.inc()
                return data
            flight = self._flights.get((digest, may_lease))
            if flight is None:
                return await self._lead(digest, may_lease)
            await flight.landed.wait()
            if flight.failure is not None:
                raise flight.failure
            # Here again without bytes: the leader was cancelled with its client (or its manifest
            # is too large to keep), so the next in line leads.

    async def _lead(self, digest: Digest, may_lease: bool) -> bytes:
        flight = self._flights[digest, may_lease] = _Flight()
        try:
            data = await self._fetch(digest, may_lease)
            self._cache.put(digest, data)
        except RoutingError as exc:
            flight.failure = exc
            raise
        else:
            return data
        finally:
            del self._flights[digest, may_lease]
            flight.landed.set()
