"""The swarm as a fetcher meets it: whom to read from while a blob spreads, and when to give a slot back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from spegel_gossip.content import ContentNotFoundError, ContentStore, ContentStoreError, PartialStatus
from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.fetching import SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import (
    FetchNeed,
    FetchRouter,
    Holders,
    OwnersUnreachableError,
    Peer,
    Purpose,
    Router,
    SlotWantedError,
)
from spegel_gossip.swarm.patience import HOLD_TIMEOUT, Yields
from spegel_gossip.transfer import metrics

LOOK_INTERVAL: Final = 0.05
"""Seconds between two looks whether a slot is wanted."""

FIND_INTERVAL: Final = 0.1
"""Seconds between two lookups of one request, lest sources that refuse at once make it spin."""

FIRST_BYTE_PATIENCE: Final = 3.0
"""Seconds for the first byte of a source that is still receiving, before its owner is asked again.

The owner knows whether it is alive; asking again is cheap, and names the same one if it is.
"""


class Spreading:
    """This node's side of the swarm, for all its requests."""

    def __init__(
        self,
        router: FetchRouter,
        store: ContentStore,
        *,
        can_yield: bool = True,
        is_read: Callable[[Digest], bool] = lambda _digest: False,
    ) -> None:
        """Take what knows the owners, and what knows the ingests.

        Args:
            router: to the owners
            store: knows the ingests
            can_yield: whether who pulls into the store bears answers without a byte, as containerd does
            is_read: whether another node reads a blob here now
        """
        self._can_yield = can_yield
        self._is_read = is_read
        self._router = router
        self._store = store
        self._yields = Yields()
        self.yields = 0
        """Answers that ended early since the start."""

    async def ingest_of(self, digest: Digest) -> tuple[PartialStatus | None, bool]:
        """Return how far containerd's own ingest of a blob is, and whether others could read it.

        None where it is not pulling it.
        """
        try:
            partial = await self._store.open_partial(digest)
        except ContentNotFoundError:
            return self._store.partials().get(digest), False
        except ContentStoreError:
            return None, False
        try:
            return partial.poll(), True
        finally:
            await partial.aclose()

    async def find(self, digest: Digest, need: FetchNeed) -> Holders:
        """Return whom to read from, waiting while somebody receives it.

        Raises:
            RoutingError: this node fetches it from upstream, or it is as if there were no swarm.
        """
        return await self._router.lookup_to_fetch(digest, need)

    def left(self, digest: Digest) -> None:
        """Take in that a blob's last request ended before the blob did."""
        self._router.left(digest)

    def place_of(self, digest: Digest) -> tuple[int, int]:
        """Return how many bytes of a blob are here, and this node's stamp among its receivers."""
        return self._router.place_of(digest)

    def peer(self, name: str) -> Peer | None:
        """Return a live member as somebody who can be talked to."""
        return self._router.peer(name)

    def gives_way(self, digest: Digest) -> bool:
        """Return whether a request that has just come takes a lease or gives its slot back: only once a blob.

        It asks first. Of a lease it takes the place in line now, behind fewer requests than it would later.
        """
        given_at = self._yields.last_at(digest, trio.current_time())
        if given_at is not None:
            self._router.slots.came_back(given_at)
            return False
        return self._router.slots.are_wanted(but=digest) and self.may_yield(digest)

    async def wait_until_slot_is_wanted(self, digest: Digest) -> None:
        """Return once a request has been held for as long as it may be while a lease here has no byte.

        Whoever it returns to has taken one of the blob's few yields, and gives its slot back.
        """
        await trio.sleep(HOLD_TIMEOUT)
        while True:
            # Taken in the same moment: several requests of one blob come to look together.
            if self._router.slots.waiting_leases(but=digest) and self.take_yield(digest):
                return
            await trio.sleep(LOOK_INTERVAL)

    def status_of(self, digest: Digest, before: PartialStatus) -> PartialStatus:
        """Return how far containerd's own ingest is by now; as before, where that is not known."""
        return self._store.partials().get(digest, before)

    def hold_timeout(self, digest: Digest, usual: float) -> float:
        """Return the seconds that the next answer may take for its first byte."""
        return self._yields.hold_timeout(digest, usual, trio.current_time())

    def may_yield(self, digest: Digest) -> bool:
        """Return whether an answer without a byte would be borne."""
        return self._can_yield and self._yields.may_yield(digest, trio.current_time())

    def take_yield(self, digest: Digest) -> bool:
        """Count an answer that ends early, if one more would be borne; return whether it would."""
        if not self.may_yield(digest):
            return False
        metrics.YIELDS.inc()
        self.yields += 1
        self._yields.yielded(digest, trio.current_time())
        return True

    def must_end_midway(self, digest: Digest) -> bool:
        """Return whether an answer from a whole copy ends in its middle, and count it.

        containerd asks for the rest when its turn for a slot comes, behind the fetch from upstream. Whoever
        reads the blob here would wait as long.
        """
        if self._is_read(digest) or not self.may_yield(digest):
            return False
        return self._router.slots.open_line() and self.take_yield(digest)

    def began(self, digest: Digest) -> None:
        """Take in that a blob's first byte came."""
        self._yields.began(digest)


class SpreadingLookup:
    """The lookups of one request: through the swarm while it answers, else through the router."""

    def __init__(
        self,
        router: Router,
        spreading: Spreading,
        digest: Digest,
        status: PartialStatus,
        *,
        start: int,
        can_yield: bool,
        is_readable: bool = True,
    ) -> None:
        self._router = router
        self._spreading = spreading
        self._digest = digest
        self._status = status
        self._can_yield = can_yield
        self._is_readable = is_readable
        self._offset = max(start, status.offset)
        self._begun_at = trio.current_time()
        self._found_at = -FIND_INTERVAL
        self.failed: list[str] = []
        self.stalled: list[Complaint] = []
        self.busy: list[str] = []
        self.gives_way = False
        """Whether the next lookup takes a lease, or has the slot given back."""

    @property
    def is_readable(self) -> bool:
        """Whether the ingest can be looked at, so that it is known at once how far it is."""
        return self._is_readable

    @property
    def total(self) -> int:
        """Bytes of the blob as containerd has it; 0 if it does not know."""
        if not self._status.total:
            # containerd writes it after the ingest's name: the first look may have come too early.
            self._status = self._spreading.status_of(self._digest, self._status)
        return self._status.total

    def peer(self, name: str) -> Peer | None:
        """Return a live member as somebody who can be talked to."""
        return self._spreading.peer(name)

    def left(self) -> None:
        """Take in that the blob's last request ended before the blob did."""
        self._spreading.left(self._digest)

    def reached(self, offset: int) -> None:
        """Take in how far the request is."""
        if offset > self._offset:
            # What waits is a request without progress, however old it is.
            self._offset, self._begun_at = offset, trio.current_time()

    async def find(self) -> Holders:
        """Return whom to read from.

        Raises:
            RoutingError: as for `Spreading.find`.
            SlotYieldedError: nobody, since the slot is wanted; containerd asks again.
        """
        await trio.sleep_until(self._found_at + FIND_INTERVAL)
        self._found_at = trio.current_time()
        need = FetchNeed(
            self._offset,
            self.total,
            tuple(self.failed),
            tuple(self.stalled),
            busy=tuple(self.busy),
            waited=trio.current_time() - self._begun_at,
            is_blind=not self._is_readable,
            is_last=not (self._can_yield and self.total and self._spreading.may_yield(self._digest)),
            gives_way=self.gives_way,
        )
        self.gives_way = False
        self.busy.clear()
        try:
            return await self._spreading.find(self._digest, need)
        except SlotWantedError:
            if self._spreading.take_yield(self._digest):
                raise SlotYieldedError(self._digest, self.total) from None
        except OwnersUnreachableError:
            return await self._router.lookup(self._digest, Purpose.FETCH)
        return await self.find()  # the last answer without a byte was taken meanwhile


async def begins_first(begin: Callable[[], Awaitable[None]], wait: Callable[[], Awaitable[None]]) -> bool:
    """Return True once `begin` has returned, or False if `wait` did before; the other one is cancelled.

    Where both have, it has begun: what was opened must be handed on, or nobody would close it.

    Raises:
        SpegelGossipError: `begin` raised it.
    """
    has_begun = False
    failure: SpegelGossipError | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        try:
            await begin()
            has_begun = True
        except SpegelGossipError as exc:
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return has_begun
