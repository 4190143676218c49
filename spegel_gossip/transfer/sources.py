"""Whom to ask next for one blob: the holders the router names, each at most once."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError, Peer, Purpose, Router, RoutingError
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.failures import HolderFailedError, Reason

log = structlog.get_logger(__name__)


class Sources:
    """The holders of one blob during one request, in the router's order."""

    def __init__(self, router: Router, digest: Digest, purpose: Purpose, *, limit: int) -> None:
        """Ask nobody yet; at most `limit` holders are ever given."""
        self.size = 0
        """Bytes of the blob as the directory has it; 0 if it does not know, or was not asked yet."""

        self._router = router
        self._digest = digest
        self._purpose = purpose
        self._limit = limit
        self._waiting: OrderedDict[str, Peer] = OrderedDict()
        self._tried: set[str] = set()
        self._attempts: list[str] = []

    async def next(self) -> Peer:
        """Return the next holder, looking up again when the list is used up.

        A blob spreads while it is fetched, so a second lookup may name holders that
        the first did not know.

        Raises:
            NoHolderError: the very first lookup: nobody has it.
            OwnersUnreachableError: the very first lookup: nobody could be asked.
            AllHoldersFailedError: there is no holder left to try.
        """
        if len(self._tried) < self._limit and not self._waiting:
            await self._look_up()
        if len(self._tried) >= self._limit or not self._waiting:
            raise AllHoldersFailedError(self._digest, self._attempts)
        name, peer = self._waiting.popitem(last=False)
        self._tried.add(name)
        return peer

    def give_up(self, peer: Peer, failure: HolderFailedError) -> None:
        """Note why a holder was given up, and tell the router what it should know."""
        self._attempts.append(f"{peer.name}: {failure}")
        metrics.SOURCE_SWITCHES.labels(failure.reason.value).inc()
        log.debug("holder given up", digest=str(self._digest), holder=peer.name, reason=str(failure))
        if failure.reason is Reason.MISS:
            self._router.report_miss(self._digest, peer.name)
        elif failure.reason in {Reason.UNREACHABLE, Reason.STALLED}:
            self._router.report_unreachable(peer.name)

    async def _look_up(self) -> None:
        try:
            found = await self._router.lookup(self._digest, self._purpose)
        except RoutingError:
            if not self._tried:
                raise
            return
        self.size = self.size or found.size
        self._waiting.update((peer.name, peer) for peer in found.holders if peer.name not in self._tried)
