"""A blob from one holder after another, within one response."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import trio

from spegel_gossip.fetching import SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError, Router
from spegel_gossip.swarm.patience import Drip
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.blame import Blame
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.cuts import Cuts
from spegel_gossip.transfer.opening import Wanted
from spegel_gossip.transfer.pace import Pace, Rates, Verdict
from spegel_gossip.transfer.race import Opener
from spegel_gossip.transfer.reports import Reports
from spegel_gossip.transfer.segment import PeerSegment
from spegel_gossip.transfer.siblings import Families, Sibling
from spegel_gossip.transfer.zones import ZoneCounter

FIRST_PIECE: Final = 4 << 20
"""Bytes asked for at first of a range without an end: by then the ranges beside it have begun."""

CLOSE_GRACE: Final = 0.5
"""Seconds that a client has to close a range where the next one begins, before more of it is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What all streams of this node have seen together."""

    rates: Rates
    blame: Blame
    cuts: Cuts
    families: Families
    zones: ZoneCounter
    reports: Reports


class PeerBlobStream:
    """The bytes of one blob, from whichever holder works (`fetching.BlobStream`).

    Belongs to the one task that serves the request; begins with `begin`, and whoever
    began it closes it.
    """

    def __init__(
        self,
        opener: Opener,
        wanted: Wanted,
        sibling: Sibling,
        *,
        router: Router,
        experience: Experience,
        config: TransferConfig,
    ) -> None:
        """Take what to ask for; nobody is asked yet."""
        self._opener = opener
        self._wanted = wanted
        self._sibling = sibling
        self._router = router
        self._experience = experience
        self._config = config
        self._segment: PeerSegment | None = None
        self._drip = Drip()
        self._source = ""
        self._is_handed_out = False
        self._must_end: Callable[[], bool] | None = None
        self._border: int | None = None
        """Where the next of several ranges begins, once that is known."""
        self._is_exhausted = False
        self._is_closed = False

    @property
    def digest(self) -> Digest:
        """The blob."""
        return self._wanted.digest

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""
        return self._wanted.size or 0

    @property
    def start(self) -> int:
        """The first byte's offset."""
        return self._wanted.start

    @property
    def stop(self) -> int:
        """The offset after the last byte."""
        return self.size if self._wanted.stop is None else self._wanted.stop

    @property
    def is_alone(self) -> bool:
        """Whether no other of its blob is open."""
        return len(self._sibling.family.members) == 1

    @property
    def is_sole(self) -> bool:
        """Whether it is its blob's only one: no other is open, and it is not one range of several perhaps."""
        return self.is_alone and not self._sibling.is_open_range

    @property
    def source(self) -> str:
        """The member who serves now, or served last."""
        return self._source

    async def begin(self) -> None:
        """Find the first source.

        Raises:
            RoutingError: nobody has it, nobody could be asked, or every holder failed.
            InvalidRangeError: the blob is shorter than the range's start.
        """
        is_open = self._sibling.is_open_range
        self._segment = segment = await self._open(self.start, self.start + FIRST_PIECE if is_open else None)
        size = segment.opened.size
        stop = size if self._wanted.stop is None else min(size, self._wanted.stop)
        self._wanted = replace(self._wanted, stop=stop, size=size)
        metrics.IN_FLIGHT.labels("received").inc()
        self._experience.reports.opened(self.digest)

    def end_midway(self, *, when: Callable[[], bool]) -> None:
        """Have it end in its middle when that is said, while a whole copy sends; its client asks again."""
        self._must_end = when
        if self._segment is not None and self._opener.sources.stall_patience(self._segment.peer) is None:
            self._segment.must_end = when

    async def next_segment(self, offset: int) -> PeerSegment:
        """Return who sends the bytes from `offset` on, the next holder if there was one.

        Raises:
            SlotYieldedError: it ends here, as it was told to.
            AllHoldersFailedError: no source is left; end the answer short. With several
                streams of one blob it is raised for the lowest offset first.
        """
        if self._segment is not None and not self._is_handed_out:
            self._is_handed_out = True
            return self._segment
        if self._segment is not None and self._segment.verdict is Verdict.ENOUGH:
            raise SlotYieldedError(self.digest, self.size)
        stopped, self._segment = self._segment, None
        try:
            if stopped is not None and stopped.verdict is Verdict.SLOW:
                return await self._replace_slow(stopped, offset)
            if stopped is not None and offset == stopped.opened.stop:
                await self._end_piece(stopped, offset)
            elif stopped is not None:
                await self._give_up(stopped, offset)
            self._segment = await self._open(offset, self._piece_end(offset))
        except AllHoldersFailedError:
            self._is_exhausted = True
            await self._sibling.wait_for_turn()
            raise
        return self._segment

    async def aclose(self, *, delivered: int) -> None:
        """End it; a holder that sent everything keeps its connection."""
        if self._is_closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._is_closed = True
        if self._is_exhausted:
            self._experience.cuts.ended(self.digest, delivered=delivered)
        if self._wanted.size is not None:
            metrics.IN_FLIGHT.labels("received").dec()
        segment, self._segment = self._segment, None
        if segment is not None:
            offset = self.start + delivered
            self._report(segment, offset)
            segment.opened.response.close(drained=offset == segment.opened.stop)
        if self._wanted.size is not None:
            self._experience.reports.closed(self.digest)
        self._experience.families.leave(self.digest, self._sibling)
        is_whole = self._wanted.size is not None and self.start + delivered >= self.stop
        if not (is_whole or self._sibling.family.members):
            self._opener.sources.left()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _piece_end(self, offset: int) -> int | None:
        """Return how far to ask at an offset: of several ranges, to where the next one begins."""
        if not self._sibling.is_open_range:
            return None
        if offset == self._border:
            return offset + FIRST_PIECE
        self._border = self._sibling.next_start(offset)
        return self._border

    async def _open(self, start: int, end: int | None) -> PeerSegment:
        self._sibling.holder = ""
        stops = [stop for stop in (end, self._wanted.stop) if stop is not None]
        peer, opened = await self._opener.open(
            replace(self._wanted, start=start, stop=min(stops, default=None))
        )
        self._source = self._sibling.holder = peer.name
        patience = self._opener.sources.stall_patience(peer)
        # One that is still receiving is as fast as what it receives from.
        rates = self._experience.rates if patience is None else None
        drip = None if patience is None else self._drip
        self._drip.begin()
        pace = Pace(
            self._config, rates=rates, is_replaceable=patience is None, drip=drip, patience=patience or 0.0
        )
        return PeerSegment(
            peer,
            opened,
            self._config.stall_timeout if patience is None else patience,
            trio.current_time(),
            pace,
            opened.start,
            self._must_end if patience is None else None,
        )

    async def _replace_slow(self, slow: PeerSegment, offset: int) -> PeerSegment:
        """Return a segment from another source, or the slow one again where there is no other."""
        sources = self._opener.sources
        found: PeerSegment | None = None
        sources.avoid(slow.peer)
        try:
            with suppress(AllHoldersFailedError), trio.move_on_after(self._config.stall_timeout):
                found = await self._open(offset, self._piece_end(offset))
        except BaseException:
            self._segment = slow
            raise
        if found is None:
            sources.avoid_no_more(slow.peer)
            self._source = self._sibling.holder = slow.source
            slow.pace.keep()
            self._segment = replace(slow, start=offset, verdict=Verdict.FINE)
            return self._segment
        self._segment = found
        await self._give_up(slow, offset)
        return found

    async def _end_piece(self, segment: PeerSegment, offset: int) -> None:
        segment.opened.response.close(drained=True)
        self._report(segment, offset)
        self._opener.sources.put_back(segment.peer)
        if offset == self._border:
            # As a rule the client has what it wanted, and closes; what was fetched beyond would be wasted.
            await trio.sleep(CLOSE_GRACE)

    async def _give_up(self, segment: PeerSegment, offset: int) -> None:
        self._opener.sources.give_up(segment.peer, segment.failure())
        segment.opened.response.close(drained=False)
        self._report(segment, offset)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _report(self, segment: PeerSegment, offset: int) -> None:
        moved = max(0, offset - segment.opened.start)
        metrics.BYTES.labels("received", "peer").inc(moved)
        self._experience.zones.received(moved, zone=segment.peer.zone)
        is_growing = self._opener.sources.stall_patience(segment.peer) is not None
        self._experience.reports.received(self.digest, moved, is_growing=is_growing)
        seconds = trio.current_time() - segment.begun_at
        if is_growing:
            self._drip.left(moved, seconds=seconds)
        self._router.report_transfer(segment.source, moved_bytes=moved, seconds=seconds)
        if moved:
            self._experience.blame.gave(self.digest, segment.source)
            self._experience.rates.add(moved_bytes=moved, seconds=seconds)
