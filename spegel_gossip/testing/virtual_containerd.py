"""containerd in a `virtual_swarm`: slots and their queue, requests, ingests that grow a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from spegel_gossip.swarm.patience import HOLD_TIMEOUT, Drip
from spegel_gossip.testing.virtual_node import REGISTRY, Fetch, VirtualNode

if TYPE_CHECKING:
    from spegel_gossip.testing.virtual_swarm import VirtualSwarm

REGISTRY_LATENCY: Final = 0.02
PULL_AGAIN_AFTER: Final = 10.0
"""Seconds until a pull that failed begins again: a kubelet's first back-off."""

LOOK_INTERVAL: Final = 0.1
"""Seconds between two looks at what is held, by the mirror."""

YIELD_TIME: Final = 0.005
"""Seconds for an answer without a byte, both ends together."""

ANSWER_TIMEOUT: Final = 20.0
"""Seconds without a byte after which the mirror ends a request that is not the last."""


class VirtualContainerd:
    """What the containerds of all nodes do, and what their mirrors do with their requests."""

    def __init__(self, swarm: VirtualSwarm) -> None:
        self._swarm = swarm

    def begin(self, node: VirtualNode) -> None:
        """Pull: the manifest, where there is one, and then all the rest at once."""
        if node.is_alive:
            held = {number for number, one in node.fetches.items() if one.is_done}
            node.together = sum(
                self._swarm.sizes[number] for number in self._swarm.blobs() if number not in held
            )
            first = self._swarm.blobs()[: 1 if self._swarm.has_manifest else None]
            for blob in self._swarm.wanted(first):
                self.fetch(node, blob)

    def fetch(self, node: VirtualNode, blob: int) -> None:
        """Open an ingest, and request the blob as soon as there is a slot."""
        fetch = node.fetches.get(blob)
        if fetch is None or not fetch.is_done:
            fetch = node.fetches[blob] = Fetch(blob, asked_at=self._swarm.now)
            self._with_slot(node, fetch, self.request)

    def cancel(self, node: VirtualNode) -> None:
        """Give a pull up: the ingests stay, nothing is requested any more, and the node wants nothing."""
        for fetch in node.fetches.values():
            if not fetch.is_done:
                fetch.turn += 1
                fetch.requests += 1
                fetch.source, fetch.is_open = "", False
                node.receptions.ended(self._swarm.digests[fetch.blob], is_done=False)
        node.queue.clear()
        self._swarm.want_no_more(node)

    def restart(self, node: VirtualNode) -> None:
        """Begin all that is not done again, at the byte where it stands: containerd was restarted."""
        node.queue.clear()
        for fetch in node.fetches.values():
            if not fetch.is_done:
                fetch.turn += 1
                fetch.requests += 1
                self._swarm.mirror.gave_back(node, fetch)
                fetch.is_open = False
                self._free_slot(node, fetch)
                self._with_slot(node, fetch, self.request)

    def upstream_broke(self, node: VirtualNode, fetch: Fetch) -> None:
        """Begin at the top of the hosts again, where the blob stands; if no byte came, give the pull up.

        Of what is there, containerd 1.6 keeps all and 2.2 nothing. A kubelet pulls again later.
        """
        if fetch.has_upstream_given:
            fetch.has_upstream_given = False
            self.request(node, fetch)
            return
        swarm = self._swarm
        for one in node.fetches.values():
            if not one.is_done:
                one.turn += 1
                one.requests += 1
                swarm.mirror.gave_back(node, one)
                one.is_open = False
                if not swarm.keeps_ingests:
                    one.offset = 0
                    node.receptions.ended(swarm.digests[one.blob], is_done=False)
                    swarm.report(node)
                    swarm.mirror.copy_ended(node, one)
        node.queue.clear()
        swarm.failed_pulls += 1
        swarm.after(PULL_AGAIN_AFTER, partial(self._begin_again, node))

    def _begin_again(self, node: VirtualNode) -> None:
        if node.is_alive:
            self.restart(node)

    def request(self, node: VirtualNode, fetch: Fetch) -> None:
        """Ask the mirror."""
        swarm = self._swarm
        fetch.asked_at, fetch.requests, fetch.is_open = swarm.now, fetch.requests + 1, True
        fetch.asked_with = fetch.offset
        fetch.failed.clear()
        fetch.stalled.clear()
        fetch.lapsed.clear()
        fetch.drip = Drip()
        fetch.hold_timeout = node.yields.hold_timeout(swarm.digests[fetch.blob], ANSWER_TIMEOUT, swarm.now)
        if not swarm.has_swarm:
            self.go_upstream(node, fetch)
            return
        digest = swarm.digests[fetch.blob]
        given_at = node.yields.last_at(digest, swarm.now)
        if given_at is not None:
            node.receptions.slot_came_back(given_at)
        fetch.gives_way = given_at is None and node.receptions.want_slots(but=digest, now=swarm.now)
        if not fetch.gives_way:
            self.follow(node, fetch)
        fetch.burden = sum(one.is_open for one in node.fetches.values()) - 1
        fetch.burden += sum(one.digest != digest for one in node.receptions.leases())
        swarm.mirror.ask(node, fetch)
        swarm.after(HOLD_TIMEOUT, partial(self._look, node, fetch, fetch.requests))

    def follow(self, node: VirtualNode, fetch: Fetch) -> None:
        """Count a blob among those that arrive."""
        swarm, digest = self._swarm, self._swarm.digests[fetch.blob]
        node.receptions.asked(digest, offset=fetch.offset, total=swarm.sizes[fetch.blob], now=swarm.now)

    def give_way(self, node: VirtualNode, fetch: Fetch) -> None:
        """Give a slot back that leases wait for."""
        self._swarm.after(YIELD_TIME, partial(self._yield_slot, node, fetch, fetch.requests))

    def _look(self, node: VirtualNode, fetch: Fetch, request: int) -> None:
        """Give a slot back that a lease waits for, of a whole copy in its middle; end what is stuck."""
        if request != fetch.requests or not fetch.is_open or not node.is_alive:
            return
        swarm, digest = self._swarm, self._swarm.digests[fetch.blob]
        waited = swarm.now - fetch.waits_since
        swarm.longest_wait = max(swarm.longest_wait, waited)
        is_byteless = fetch.arrived_at < fetch.asked_at
        can_yield = is_byteless and node.yields.may_yield(digest, swarm.now)
        is_slot_wanted = node.receptions.waiting_leases(but=digest) > 0
        if waited >= fetch.hold_timeout and is_byteless and not can_yield:
            swarm.left_alone(node, fetch)
            self.go_upstream(node, fetch)
        elif (can_yield and is_slot_wanted) or waited >= (
            fetch.hold_timeout if is_byteless else ANSWER_TIMEOUT
        ):
            self._yield_slot(node, fetch, request, is_byteless=is_byteless)
        elif not is_byteless and self._must_end_midway(node, fetch):
            self._yield_slot(node, fetch, request)
        else:
            swarm.after(LOOK_INTERVAL, partial(self._look, node, fetch, request))

    def _must_end_midway(self, node: VirtualNode, fetch: Fetch) -> bool:
        swarm = self._swarm
        source = swarm.nodes.get(fetch.source)
        is_whole = source is not None and source.fetches[fetch.blob].is_done
        # What goes on in the middle may be one range of several, and ends no more.
        is_sole = not fetch.asked_with and not node.is_blind and not node.readers.get(fetch.blob)
        return is_whole and is_sole and node.receptions.open_line(swarm.now)

    def _yield_slot(self, node: VirtualNode, fetch: Fetch, request: int, *, is_byteless: bool = True) -> None:
        """End an answer early: containerd asks again, at the end of the line for slots."""
        swarm = self._swarm
        if request != fetch.requests or not fetch.is_open or not node.is_alive:
            return
        if is_byteless:
            node.yields.yielded(swarm.digests[fetch.blob], swarm.now)
            swarm.yields += 1
        fetch.turn += 1
        swarm.mirror.gave_back(node, fetch)
        fetch.is_open = False
        if swarm.has_shared_slots:
            self._free_slot(node, fetch)
            self._with_slot(node, fetch, self.request)
        else:
            swarm.after(YIELD_TIME, partial(self._ask_again, node, fetch, request))

    def _ask_again(self, node: VirtualNode, fetch: Fetch, request: int) -> None:
        if request == fetch.requests and node.is_alive and not fetch.is_done:
            self.request(node, fetch)

    def go_upstream(self, node: VirtualNode, fetch: Fetch) -> None:
        """Take a 404: fetch from the registry, at the end of the queue where slots are shared."""
        fetch.turn += 1
        self._swarm.mirror.gave_back(node, fetch)
        fetch.is_open = False
        if self._swarm.has_shared_slots:
            self._free_slot(node, fetch)
            self._with_slot(node, fetch, self._fetch_upstream)
        else:
            self._fetch_upstream(node, fetch)

    def _fetch_upstream(self, node: VirtualNode, fetch: Fetch) -> None:
        swarm = self._swarm
        fetch.source, fetch.turn = REGISTRY, fetch.turn + 1
        fetch.has_upstream_given = False
        swarm.upstream_began(fetch.blob)
        swarm.after(REGISTRY_LATENCY, partial(swarm.step, node, fetch, fetch.turn, None))

    def complete(self, node: VirtualNode, fetch: Fetch) -> None:
        """Commit what has all its bytes."""
        self._free_slot(node, fetch)
        fetch.turn += 1
        fetch.is_open = False
        self._swarm.after(node.commit_delay, partial(self._committed, node, fetch))

    def _committed(self, node: VirtualNode, fetch: Fetch) -> None:
        if not node.is_alive:
            return
        swarm = self._swarm
        fetch.is_done, fetch.source = True, ""
        node.receptions.ended(swarm.digests[fetch.blob], is_done=True)
        swarm.committed(node, fetch.blob)
        if swarm.has_manifest and fetch.blob == 0:
            for blob in swarm.wanted(swarm.blobs()[1:]):
                self.fetch(node, blob)
        elif len(node.fetches) == len(swarm.sizes) and all(one.is_done for one in node.fetches.values()):
            node.finished_at = swarm.now

    def _with_slot(
        self, node: VirtualNode, fetch: Fetch, action: Callable[[VirtualNode, Fetch], None]
    ) -> None:
        def begin() -> None:
            fetch.has_slot = True
            action(node, fetch)

        node.queue.append(begin)
        self._next_in_queue(node)

    def _next_in_queue(self, node: VirtualNode) -> None:
        while node.slots and node.queue:
            node.slots -= 1
            node.queue.popleft()()

    def _free_slot(self, node: VirtualNode, fetch: Fetch) -> None:
        if fetch.has_slot:
            fetch.has_slot = False
            node.slots += 1
            self._next_in_queue(node)
