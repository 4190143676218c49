"""Whom to ask next for one blob: the holders the router names, each at most once."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog
import trio

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError, Holders, Peer, Purpose, Router, RoutingError
from spegel_gossip.swarm.patience import stall_patience
from spegel_gossip.transfer import metrics
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.siblings import Family
from spegel_gossip.transfer.spreading import FIRST_BYTE_PATIENCE, SpreadingLookup
from spegel_gossip.transfer.tail import TailRequest

log = structlog.get_logger(__name__)


class Sources:
    """The holders of one blob during one request, in the router's order."""

    def __init__(
        self,
        router: Router,
        digest: Digest,
        purpose: Purpose,
        *,
        limit: int,
        is_banned: Callable[[Digest, str], bool],
        family: Family | None = None,
        spreading: SpreadingLookup | None = None,
    ) -> None:
        """Ask nobody yet.

        Args:
            router: names the holders
            digest: the blob
            purpose: of the lookup
            limit: holders given at most
            is_banned: says of a holder that it is not to be asked for this blob
            family: the other streams of the blob, to share the lookup and the holders with
            spreading: where containerd itself has an ingest open: names growing sources too
        """
        self.size = 0
        """Bytes of the blob as the directory has it; 0 if it does not know, or was not asked yet."""

        self._router = router
        self._digest = digest
        self._purpose = purpose
        self._limit = limit
        self._is_banned = is_banned
        self._family = family
        self._spreading = spreading
        self._growing: dict[str, Holders] = {}
        self._lapsed: set[str] = set()
        """Growing sources that had nothing to give once."""

        self._named: dict[str, Holders] = {}
        self._waiting: OrderedDict[str, Peer] = OrderedDict()
        self._tried: set[str] = set()
        self._banned: set[str] = set()
        self._may_know_others = False
        """Whether the owner should be asked again, since a holder that it named is banned."""

        self._has_searched = False
        self._attempts: list[str] = []

    @property
    def attempts(self) -> tuple[str, ...]:
        """What each holder given up met, as `AllHoldersFailedError` tells it."""
        return tuple(self._attempts)

    async def next(self) -> Peer:
        """Return the next holder, looking up again when the list is used up.

        A blob spreads while it is fetched, so a second lookup may name holders that
        the first did not know.

        Raises:
            NoHolderError: the very first lookup: nobody has it.
            OwnersUnreachableError: the very first lookup: nobody could be asked.
            AllHoldersFailedError: there is no holder left to try.
        """
        is_open = self._spreading is not None or len(self._tried) < self._limit
        if is_open and not self._waiting:
            await self._look_up()
        if not is_open or not self._waiting:
            raise AllHoldersFailedError(self._digest, self._attempts)
        loads = Counter[str]() if self._family is None else self._family.loads()
        # Of those that serve the fewest of this blob's streams, the first in the router's order.
        name = min(self._waiting, key=loads.__getitem__)
        self._tried.add(name)
        return self._waiting.pop(name)

    def reached(self, offset: int) -> None:
        """Take in how far the request is; who names sources must know, lest it name one that is behind."""
        if self._spreading is not None:
            self._spreading.reached(offset)

    def left(self) -> None:
        """Tell whoever keeps a place for the blob's last request that it ended before the blob did."""
        if self._spreading is not None:
            self._spreading.left()

    def put_back(self, peer: Peer) -> None:
        """Take a holder that was not needed after all as not tried."""
        self._tried.discard(peer.name)
        self._waiting[peer.name] = peer
        self._waiting.move_to_end(peer.name, last=False)

    def avoid(self, peer: Peer) -> None:
        """Have an owner that names one source to each asker name another than this one, for now."""
        if self._spreading is not None:
            self._spreading.failed.append(peer.name)

    def avoid_no_more(self, peer: Peer) -> None:
        """Take back `avoid`: there is no other."""
        if self._spreading is not None:
            self._spreading.failed.remove(peer.name)

    def give_up(self, peer: Peer, failure: HolderFailedError) -> None:
        """Note why a holder was given up, and tell the router what it should know."""
        self._attempts.append(f"{peer.name}: {failure}")
        metrics.SOURCE_SWITCHES.labels(failure.reason.value).inc()
        log.debug("holder given up", digest=str(self._digest), holder=peer.name, reason=str(failure))
        if self._spreading is not None:
            self._complain(self._spreading, peer, failure.reason)
            self._try_others(peer, failure.others)
        if peer.name in self._growing:
            return
        if failure.reason is Reason.MISS:
            self._router.report_miss(self._digest, peer.name)
        elif failure.reason in {Reason.UNREACHABLE, Reason.STALLED, Reason.SLOW}:
            self._router.report_unreachable(peer.name)

    def _complain(self, spreading: SpreadingLookup, peer: Peer, reason: Reason) -> None:
        """Have the owner hear of a source that was given up."""
        match reason:
            case Reason.STALLED:
                spreading.stalled.append(Complaint(peer.name, trio.current_time()))
            case Reason.BUSY:
                spreading.busy.append(peer.name)
            case Reason.SLOW if peer.name in self._growing:
                # The line may be this node's own. Taken for failed, with all others behind it in the chain,
                # the owner would send this node upstream; so it names another if there is one, or the same.
                spreading.busy.append(peer.name)
            case Reason.MISS | Reason.EMPTY if peer.name in self._growing and peer.name not in self._lapsed:
                # Its request gave a slot back, or has not come yet. Taken for failed it is named no more
                # for long, and if it is the one that fetches, whoever asked is sent upstream as well.
                self._lapsed.add(peer.name)
                spreading.busy.append(peer.name)
            case _:
                spreading.failed.append(peer.name)

    def _try_others(self, busy: Peer, names: tuple[str, ...]) -> None:
        """Go next to those who read from a busy source; they refuse whoever is ahead of them."""
        if self._spreading is None or busy.name not in self._named:
            return
        found = self._named[busy.name]
        for name in names:
            other = self._spreading.peer(name)
            if other is None or name in self._tried or self._is_banned(self._digest, name):
                continue
            self._waiting[name] = other
            patience = found.patience or stall_patience(1)
            self._growing[name] = self._named[name] = replace(found, holders=(other,), patience=patience)

    async def _find(self) -> Holders:
        if self._spreading is not None and (self._family is None or len(self._family.members) == 1):
            # One source to attach to, meant for this stream alone.
            return await self._spreading.find()
        # One range of several takes its share from each whole copy; only without any it waits in line.
        look_up = partial(self._router.lookup, self._digest, self._purpose)
        try:
            if self._family is None:
                return await look_up()
            return await (self._family.find_anew if self._tried else self._family.find)(look_up)
        except RoutingError:
            if self._spreading is None:
                raise
            return await self._spreading.find()

    async def _look_up(self) -> None:
        known = None if self._family is None or self._tried else self._family.known_holders
        try:
            self._take(known or await self._find())
            while self._may_know_others and not self._waiting:
                self._take(await self._find())
        except RoutingError:
            if not self._tried and not self._banned:
                raise
        if self._banned and not (self._waiting or self._has_searched):
            self._has_searched = True
            with suppress(RoutingError):
                self._take(await self._router.lookup(self._digest, Purpose.SEARCH))

    def _take(self, found: Holders) -> None:
        self._may_know_others = False
        self.size = self.size or found.size
        for peer in found.holders:
            if self._is_banned(self._digest, peer.name):
                self._ban(peer)
            elif peer.name not in self._tried or self._spreading is not None:
                # The owner has weighed what we said of it.
                self._waiting[peer.name] = peer
                self._note_growth(peer.name, found)

    def _note_growth(self, name: str, found: Holders) -> None:
        self._named[name] = found
        if found.patience is None:
            self._growing.pop(name, None)
        else:
            self._growing[name] = found

    @property
    def is_hedgeable(self) -> bool:
        """Whether a second holder may be asked beside a first; the swarm gives each asker one."""
        return self._spreading is None

    def first_byte_patience(self, peer: Peer, usual: float) -> float:
        """Return the seconds that a holder gets for its first byte."""
        return FIRST_BYTE_PATIENCE if peer.name in self._growing else usual

    def stall_patience(self, peer: Peer) -> float | None:
        """Return the seconds without a byte that a growing source gets; None for one that has it all."""
        found = self._growing.get(peer.name)
        return None if found is None else found.patience

    def tail_request(self, peer: Peer, offset: int) -> TailRequest | None:
        """Return what to tell a source that is still receiving, None for any other."""
        found = self._growing.get(peer.name)
        return None if found is None else TailRequest(offset, found.stamp)

    def _ban(self, peer: Peer) -> None:
        if peer.name not in self._banned:
            self._banned.add(peer.name)
            if self._spreading is not None:
                # It names one source to each asker; told what is wrong with this one, it names another.
                self._spreading.failed.append(peer.name)
                self._may_know_others = True
            self._attempts.append(f"{peer.name}: banned, bytes it sent of this blob may have been wrong")
            metrics.SOURCE_SWITCHES.labels(Reason.BANNED.value).inc()
