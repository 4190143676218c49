"""Asking holders for a blob until one begins, and a second one beside a first that is late."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.routing import AllHoldersFailedError, Peer
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.hedging import Hedges
from spegel_gossip.transfer.opening import Opened, Wanted, open_blob
from spegel_gossip.transfer.sources import Sources
from spegel_gossip.wire.client import PeerClient


@dataclass(frozen=True, slots=True)
class Opener:
    """Finds a holder that begins to send."""

    client: PeerClient
    sources: Sources
    hedges: Hedges
    patience: float
    """Seconds each holder gets for its first byte."""

    async def open(self, wanted: Wanted) -> tuple[Peer, Opened]:
        """Return the first holder that begins, and its answer.

        Raises:
            RoutingError: nobody has it, nobody could be asked, or every holder failed.
            InvalidRangeError: the blob is shorter than the range's start.
        """
        self.hedges.asked()
        self.sources.reached(wanted.start)
        while True:
            won = await _Race(self, wanted).run(await self.sources.next())
            if won is not None:
                return won


class _Race:
    """One holder, or two, asked for the same bytes; the first to begin wins."""

    def __init__(self, opener: Opener, wanted: Wanted) -> None:
        self._opener = opener
        self._wanted = wanted
        self._running: dict[str, Peer] = {}
        self._won: tuple[Peer, Opened] | None = None
        self._too_short: InvalidRangeError | None = None

    async def run(self, first: Peer) -> tuple[Peer, Opened] | None:
        """Return the winner, or None where all that were asked have failed and were given up."""
        try:
            async with trio.open_nursery() as nursery:
                self._begin(first, nursery)
                delay = self._opener.hedges.delay if self._opener.sources.is_hedgeable else None
                if delay is not None:
                    nursery.start_soon(self._hedge, delay, nursery)
        except BaseException:
            if self._won is not None:  # in the moment in which whoever asked left
                self._won[1].response.close(drained=False)
            raise
        for peer in self._running.values():
            self._opener.sources.put_back(peer)
        if self._won is None and self._too_short is not None:
            raise self._too_short
        return self._won

    def _begin(self, peer: Peer, nursery: trio.Nursery) -> None:
        self._running[peer.name] = peer
        nursery.start_soon(self._ask, peer, nursery.cancel_scope)

    async def _hedge(self, delay: float, nursery: trio.Nursery) -> None:
        await trio.sleep(delay)
        try:
            peer = await self._opener.sources.next()
        except AllHoldersFailedError:
            return
        self._opener.hedges.spend()
        metrics.HEDGES.inc()
        self._begin(peer, nursery)

    async def _ask(self, peer: Peer, race: trio.CancelScope) -> None:
        opener = self._opener
        asked_at = trio.current_time()
        try:
            opened = await open_blob(
                opener.client,
                peer,
                self._wanted,
                patience=opener.sources.first_byte_patience(peer, opener.patience),
                tail=opener.sources.tail_request(peer, self._wanted.start),
            )
        except HolderFailedError as exc:
            opener.sources.give_up(peer, exc)
        except InvalidRangeError as exc:
            known = max(opener.sources.size, self._wanted.size or 0)
            if self._wanted.start < known:
                # The directory, or a first holder, knows the blob to be longer than this one's copy.
                opener.sources.give_up(peer, HolderFailedError(Reason.WRONG_ANSWER, str(exc)))
            else:
                self._too_short = exc
        else:
            opener.hedges.answered(trio.current_time() - asked_at)
            if self._won is None:
                self._won = (peer, opened)
            else:
                opened.response.close(drained=False)
                return
        # A loser that was cancelled stays in the list: it has not failed.
        del self._running[peer.name]
        if self._won is not None or self._too_short is not None or not self._running:
            race.cancel()
