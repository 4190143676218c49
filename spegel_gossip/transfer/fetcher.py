"""Gets blobs and manifests from the nodes that have them (`fetching.BlobFetcher`)."""

from __future__ import annotations

from functools import partial

import structlog
import trio

from spegel_gossip.fetching import SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES
from spegel_gossip.routing import AllHoldersFailedError, Peer, Purpose, Router
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.blame import BAN_TIMEOUT, Blame
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.cuts import Cuts
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.hedging import Hedges
from spegel_gossip.transfer.manifests import SingleFlight, VerifiedManifests
from spegel_gossip.transfer.opening import BLOBS_PATH, MANIFESTS_PATH, Wanted, ask
from spegel_gossip.transfer.pace import Rates
from spegel_gossip.transfer.race import Opener
from spegel_gossip.transfer.reports import Reports
from spegel_gossip.transfer.siblings import Families, Family
from spegel_gossip.transfer.sources import Sources
from spegel_gossip.transfer.spreading import Spreading, SpreadingLookup, begins_first
from spegel_gossip.transfer.stream import Experience, PeerBlobStream
from spegel_gossip.transfer.tail import TAIL_HEADER
from spegel_gossip.transfer.zones import ZoneCounter
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.response import PeerResponse

log = structlog.get_logger(__name__)

HASH_IN_THREAD_BYTES = 256 << 10
"""Manifests from this size on are hashed in a thread: 4 MiB would hold the loop for 10 ms and more."""

READ_BYTES = 64 << 10


class PeerBlobFetcher:
    """Asks the router who has it, and those who have it for the bytes."""

    def __init__(
        self,
        router: Router,
        client: PeerClient,
        config: TransferConfig,
        *,
        zone: str = "",
        spreading: Spreading | None = None,
        reports: Reports | None = None,
    ) -> None:
        """Take the process's router and client, this node's zone, its part in the swarm, and who counts."""
        self._router = router
        self._spreading = spreading
        self._client = client
        self._config = config
        self._hedges = Hedges()
        self._experience = Experience(
            rates=Rates(),
            blame=Blame(trio.current_time),
            cuts=Cuts(trio.current_time),
            families=Families(),
            zones=ZoneCounter(zone),
            reports=reports or Reports(),
        )
        self._manifests = SingleFlight(
            VerifiedManifests(max_bytes=config.manifest_cache_bytes), self._fetch_manifest
        )

    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None, is_range: bool = False
    ) -> PeerBlobStream:
        """Find a source and begin; returns when its first byte is in.

        Raises:
            RoutingError: nobody has it, nobody could be asked, or every holder failed.
            InvalidRangeError: the blob is shorter than `start`.
            SlotYieldedError: containerd is to ask again, because a slot is wanted.
        """
        self._experience.reports.asked(digest)
        if self._experience.cuts.must_refuse(digest):
            raise AllHoldersFailedError(digest, ["its answers ended without a byte, again and again"])
        sibling = self._experience.families.join(digest, start, is_open_range=is_range and stop is None)
        try:
            # Joined before it is looked: ranges that begin together must see each other.
            lookup = await self._spreading_lookup(digest, start)
        except BaseException:
            self._experience.families.leave(digest, sibling)
            raise
        sources = self._sources(digest, Purpose.FETCH, sibling.family, lookup)
        stream = PeerBlobStream(
            Opener(self._client, sources, self._hedges, self._config.first_byte_timeout),
            Wanted(digest, start, stop),
            sibling,
            router=self._router,
            experience=self._experience,
            config=self._config,
        )
        begun_at, timeout = trio.current_time(), self._hold_timeout(digest, lookup)
        has_begun = False
        try:
            with metrics.HELD.track_inprogress(), trio.move_on_after(timeout):
                await self._begin(stream, lookup)
                has_begun = True
        finally:
            if not has_begun:
                # It may have begun, and its client have left in that moment: nobody else would close it.
                await stream.aclose(delivered=0)
        if not has_begun:
            self._yield_slot(digest, lookup)
            raise _out_of_time(digest, sources, timeout)
        metrics.FIRST_BYTE_SECONDS.labels("blob").observe(trio.current_time() - begun_at)
        return stream

    async def _spreading_lookup(
        self, digest: Digest, start: int, *, can_yield: bool = True
    ) -> SpreadingLookup | None:
        if self._spreading is None:
            return None
        status, is_readable = await self._spreading.ingest_of(digest)
        if status is None:
            return None
        return SpreadingLookup(
            self._router,
            self._spreading,
            digest,
            status,
            start=start,
            can_yield=can_yield,
            is_readable=is_readable,
        )

    async def _begin(self, stream: PeerBlobStream, lookup: SpreadingLookup | None) -> None:
        spreading = self._spreading
        if spreading is None or lookup is None or not lookup.total:
            await stream.begin()
            return
        # Of several ranges one may have stood in line before whatever another one made room for.
        lookup.gives_way = stream.is_alone and spreading.gives_way(stream.digest) and stream.is_sole
        if not await begins_first(stream.begin, partial(spreading.wait_until_slot_is_wanted, stream.digest)):
            raise SlotYieldedError(stream.digest, lookup.total)
        lookup.gives_way = False
        spreading.began(stream.digest)
        if stream.is_sole and lookup.is_readable:
            stream.end_midway(when=partial(spreading.must_end_midway, stream.digest))

    def _hold_timeout(self, digest: Digest, lookup: SpreadingLookup | None) -> float:
        usual = self._config.answer_timeout
        if self._spreading is None or lookup is None:
            return usual
        return self._spreading.hold_timeout(digest, usual)

    def _yield_slot(self, digest: Digest, lookup: SpreadingLookup | None) -> None:
        spreading = self._spreading
        if spreading is not None and lookup is not None and lookup.total and spreading.take_yield(digest):
            raise SlotYieldedError(digest, lookup.total)

    def reject(self, digest: Digest) -> None:
        """Take note that the bytes of a blob that arrived here are not those of its digest.

        Those who sent them are not asked for it again for a while; where nobody else has
        it, containerd is told to ask upstream.
        """
        for holder in self._experience.blame.condemn(digest):
            metrics.BANS.inc()
            log.warning(
                "a holder is not asked for a blob any more: bytes that it sent of it, or others sent beside "
                "it, were wrong; look at that node's disk",
                digest=str(digest),
                holder=holder,
                seconds=BAN_TIMEOUT,
            )

    async def spreads(self, digest: Digest) -> bool:
        """Return whether content is got through the swarm: this node is in one, and ingests it now."""
        if self._spreading is None:
            return False
        status, _ = await self._spreading.ingest_of(digest)
        return status is not None

    async def size(self, digest: Digest) -> int:
        """Return the size of a blob that another node has.

        Raises:
            RoutingError: as for `open`.
        """
        sources = self._sources(digest, Purpose.READ)
        with trio.move_on_after(self._config.answer_timeout):
            return await self._size(digest, sources)
        raise _out_of_time(digest, sources, self._config.answer_timeout)

    async def _size(self, digest: Digest, sources: Sources) -> int:
        while True:
            peer = await sources.next()
            try:
                response = await ask(
                    self._client,
                    peer,
                    "HEAD",
                    f"{BLOBS_PATH}{digest}",
                    headers={},
                    patience=self._config.first_byte_timeout,
                )
            except HolderFailedError as exc:
                sources.give_up(peer, exc)
                continue
            await response.aclose(drained=True)
            return response.content_length

    async def fetch_manifest(self, digest: Digest, *, may_lease: bool = True) -> bytes:
        """Return a manifest from another node, verified against its digest.

        Raises:
            RoutingError: as for `open`; a holder that sends other bytes has failed.
        """
        self._experience.reports.asked(digest, is_manifest=True)
        content = await self._manifests.get(digest, may_lease=may_lease)
        self._experience.reports.given(digest, len(content))
        return content

    def _sources(
        self,
        digest: Digest,
        purpose: Purpose,
        family: Family | None = None,
        lookup: SpreadingLookup | None = None,
    ) -> Sources:
        return Sources(
            self._router,
            digest,
            purpose,
            limit=self._config.max_sources,
            is_banned=self._experience.blame.is_banned,
            family=family,
            spreading=lookup,
        )

    async def _fetch_manifest(self, digest: Digest, may_lease: bool) -> bytes:
        if may_lease:
            lookup = await self._spreading_lookup(digest, 0, can_yield=False)
            sources = self._sources(digest, Purpose.FETCH, lookup=lookup)
        else:
            sources = self._sources(digest, Purpose.READ)
        with metrics.HELD.track_inprogress(), trio.move_on_after(self._config.answer_timeout):
            return await self._manifest_from_any(digest, sources)
        raise _out_of_time(digest, sources, self._config.answer_timeout)

    async def _manifest_from_any(self, digest: Digest, sources: Sources) -> bytes:
        begun_at = trio.current_time()
        while True:
            peer = await sources.next()
            try:
                data = await self._manifest_from(peer, digest, sources)
            except HolderFailedError as exc:
                sources.give_up(peer, exc)
                continue
            metrics.FIRST_BYTE_SECONDS.labels("manifest").observe(trio.current_time() - begun_at)
            metrics.BYTES.labels("received", "peer").inc(len(data))
            self._experience.zones.received(len(data), zone=peer.zone)
            is_growing = sources.stall_patience(peer) is not None
            self._experience.reports.received(digest, len(data), is_growing=is_growing)
            return data

    async def _manifest_from(self, peer: Peer, digest: Digest, sources: Sources) -> bytes:
        tail = sources.tail_request(peer, 0)
        response = await ask(
            self._client,
            peer,
            "GET",
            f"{MANIFESTS_PATH}{digest}",
            headers={} if tail is None else {TAIL_HEADER: tail.header()},
            patience=sources.first_byte_patience(peer, self._config.first_byte_timeout),
        )
        data = None
        patience = sources.stall_patience(peer) or self._config.stall_timeout
        try:
            data = await self._read(response, patience)
        finally:
            await response.aclose(drained=data is not None)
        if len(data) < HASH_IN_THREAD_BYTES:
            is_right = digest.matches(data)
        else:
            is_right = await trio.to_thread.run_sync(digest.matches, data)
        if not is_right:
            raise HolderFailedError(Reason.WRONG_ANSWER, "its bytes do not have the digest")
        return data

    async def _read(self, response: PeerResponse, patience: float) -> bytes:
        length = response.content_length
        if length > MAX_MANIFEST_BYTES:
            raise HolderFailedError(Reason.WRONG_ANSWER, f"a manifest of {length} bytes")
        chunks = [response.head]
        left = length - len(response.head)
        while left > 0:
            data = None
            with trio.move_on_after(patience):
                try:
                    data = await response.socket.recv(min(left, READ_BYTES))
                except OSError as exc:
                    raise HolderFailedError(Reason.ENDED, f"its connection broke: {exc}") from exc
            if data is None:
                raise HolderFailedError(Reason.STALLED, f"no byte for {patience:g} s")
            if not data:
                raise HolderFailedError(Reason.ENDED, f"it ended {left} bytes early")
            chunks.append(data)
            left -= len(data)
        return b"".join(chunks)


def _out_of_time(digest: Digest, sources: Sources, timeout: float) -> AllHoldersFailedError:
    return AllHoldersFailedError(digest, [*sources.attempts, f"no source within {timeout:g} s"])
