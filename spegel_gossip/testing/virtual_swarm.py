"""A cluster that pulls one image, in virtual time: links, ingests, download slots, and the real rules.

The owners' `Leases` and the nodes' `Receptions` and `Yields` are those of the product. What
is simulated is what they meet: a registry and links of some bandwidth, ingests that grow
1 MiB at a time, and containerd's three download slots with their queue. Links send whole
steps in turn, so streams that share one get equal parts of it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from spegel_gossip.directory.fetch_messages import (
    FetchAsk,
    FetchTold,
    Progress,
    ProgressItem,
    ProgressState,
    Verdict,
)
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.leases import UNASKED, Leases
from spegel_gossip.directory.parents import Known
from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.patience import HOLD_TIMEOUT, URGENT_AFTER, stall_patience
from spegel_gossip.swarm.receptions import ReceptionState
from spegel_gossip.swim.names import name_hash
from spegel_gossip.testing.virtual_node import Fetch, Link, VirtualNode

STEP: Final = 1 << 20
LATENCY: Final = 0.0005
"""Seconds one way, between nodes."""

REGISTRY_LATENCY: Final = 0.02
POLL_DELAY: Final = 0.01
"""Seconds until a tail sees a step, on average."""

COMMIT_DELAY: Final = 0.02
RECORD_DELAY: Final = 0.1
"""Seconds from a commit until the owners have the record."""

REPEAT_INTERVAL: Final = 0.5
_STATES = {
    ReceptionState.ARRIVING: ProgressState.ARRIVING,
    ReceptionState.DONE: ProgressState.DONE,
    ReceptionState.ENDED: ProgressState.ENDED,
}


class VirtualSwarm:
    """Some nodes, a registry, and blobs that all of them want."""

    def __init__(
        self,
        n: int,
        sizes: list[int],
        *,
        node_rate: float,
        registry_rate: float,
        seed: int = 1,
        has_shared_slots: bool = True,
        has_swarm: bool = True,
    ) -> None:
        """Make the nodes; nothing is wanted yet.

        Args:
            n: how many
            sizes: of the blobs, in bytes
            node_rate: of each node's link, either way, in bytes a second
            registry_rate: of the registry's link
            seed: of all that is drawn
            has_shared_slots: whether a request that was answered 404 goes to the end of the queue
            has_swarm: whether owners are asked at all
        """
        self.now = 0.0
        self.rng = random.Random(seed)
        self.sizes = sizes
        self.registry = Link(registry_rate)
        self.has_shared_slots = has_shared_slots
        self.has_swarm = has_swarm
        self.nodes = {f"n{number}": VirtualNode(f"n{number}", node_rate) for number in range(n)}
        self.keys = [pack_key(Digest("sha256", f"{self.rng.getrandbits(256):064x}")) for _ in sizes]
        self.digests = [Digest("sha256", key[1:].hex()) for key in self.keys]
        self.blob_of = {key: number for number, key in enumerate(self.keys)}
        self.holders: dict[int, dict[str, None]] = {number: {} for number in range(len(sizes))}
        self.upstream: dict[int, int] = dict.fromkeys(range(len(sizes)), 0)
        """How many upstream fetches of each blob were begun."""
        self.most_upstream: dict[int, int] = dict.fromkeys(range(len(sizes)), 0)
        """The most of them at the same time."""
        self.yields = 0
        self.uncounted_404s = 0
        self.answered_at: list[float] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._names = {name_hash(name): name for name in self.nodes}
        zones = dict.fromkeys(self.nodes, "z")
        self.owners = {
            name: Leases(self._known, zones, first_token=number << 32)
            for number, name in enumerate(self.nodes)
        }
        self._rings = [self.rng.sample(sorted(self.nodes), n) for _ in sizes]
        self._wanting: list[VirtualNode] = []
        self.after(0.25, self._tick)

    # -- driving it ---------------------------------------------------------------------------

    def pull(self, names: list[str] | None = None, *, spread: float = 0.01) -> None:
        """Have nodes pull all blobs, within so many seconds of each other."""
        for name in names or list(self.nodes):
            self._wanting.append(self.nodes[name])
            self.after(self.rng.uniform(0.0, spread), partial(self._begin, self.nodes[name]))

    def give(self, name: str) -> None:
        """Let a node have everything already."""
        for number in range(len(self.sizes)):
            self.holders[number][name] = None
            self.nodes[name].fetches[number] = Fetch(number, self.sizes[number], is_done=True)
        self.nodes[name].finished_at = self.now

    def kill(self, name: str) -> None:
        """Take a node away without a word."""
        self.nodes[name].is_alive = False
        for held in self.holders.values():
            held.pop(name, None)

    def run(self, until: float) -> None:
        """Let time pass until everybody is done, or until then."""
        while self._events and self._events[0][0] <= until and not self.is_over():
            self.now, _, action = heapq.heappop(self._events)
            action()
        if not self.is_over():
            self.now = until

    def is_over(self) -> bool:
        """Whether every living node has all it wanted."""
        return all(node.finished_at is not None for node in self._wanting if node.is_alive)

    @property
    def makespan(self) -> float:
        """When the last one was done."""
        return max((node.finished_at or float("inf")) for node in self._wanting if node.is_alive)

    @property
    def egress(self) -> float:
        """What the registry sent, as a multiple of the image."""
        return self.registry.sent / sum(self.sizes)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, action))

    def owners_of(self, number: int) -> list[str]:
        """Return the two living nodes that look after a blob."""
        return [name for name in self._rings[number] if self.nodes[name].is_alive][:2]

    # -- owners -------------------------------------------------------------------------------

    def _known(self, key: PackedKey, asker: str) -> Known:
        number = self.blob_of[key]
        return Known(tuple(name for name in self.holders[number] if name != asker), self.sizes[number])

    def _tick(self) -> None:
        for name, leases in self.owners.items():
            if self.nodes[name].is_alive:
                leases.handle_timer(self.now)
                self._drain(leases)
        for node in self.nodes.values():
            self._report(node)
            self._leave_stalled(node)
        self.after(0.25, self._tick)

    def _drain(self, leases: Leases) -> None:
        for asker, told in leases.told():
            if told.id == UNASKED:
                continue
            node = self.nodes[asker]
            fetch = node.fetches[told.id - 1]
            turn = fetch.turn
            self.after(LATENCY, partial(self._told, node, fetch, told, turn))

    def _report(self, node: VirtualNode) -> None:
        if not node.is_alive or not self.has_swarm:
            return
        report = node.receptions.report(self.now)
        if report is None:
            return
        for one in report.receptions:
            number = self.digests.index(one.digest)
            item = ProgressItem(self.keys[number], one.token, one.offset, one.total, _STATES[one.state])
            message = Progress(0, report.byteless, report.is_growing, (item,))
            for owner in self.owners_of(number):
                self.after(LATENCY, partial(self._progress, owner, node.name, message))

    def _progress(self, owner: str, sender: str, message: Progress) -> None:
        if self.nodes[owner].is_alive:
            self.owners[owner].progress(sender, message, self.now, int(self.now * 1000))
            self._drain(self.owners[owner])

    # -- containerd ---------------------------------------------------------------------------

    def _begin(self, node: VirtualNode) -> None:
        for number in range(len(self.sizes)):
            fetch = node.fetches[number] = Fetch(number, asked_at=self.now)
            self._with_slot(node, fetch, self._request)

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

    def _request(self, node: VirtualNode, fetch: Fetch) -> None:
        fetch.asked_at = self.now
        if not self.has_swarm:
            self._go_upstream(node, fetch)
            return
        node.receptions.asked(
            self.digests[fetch.blob], offset=fetch.offset, total=self.sizes[fetch.blob], now=self.now
        )
        self._ask(node, fetch)
        turn = fetch.turn
        self.after(HOLD_TIMEOUT, lambda: self._may_yield(node, fetch, turn))

    def _may_yield(self, node: VirtualNode, fetch: Fetch, asked: int) -> None:
        digest = self.digests[fetch.blob]
        if fetch.is_done or not fetch.has_slot or fetch.grown_at > fetch.asked_at or not node.is_alive:
            return
        if fetch.source == "registry":
            return
        can_yield = self.has_shared_slots and node.yields.may_yield(digest, self.now)
        if can_yield and node.receptions.byteless_leases(but=digest):
            node.yields.yielded(digest, self.now)
            self.yields += 1
            fetch.turn += 1
            fetch.source = ""
            self._free_slot(node, fetch)
            self._with_slot(node, fetch, self._request)
            return
        self.after(0.1, lambda: self._may_yield(node, fetch, asked))

    # -- the mirror ---------------------------------------------------------------------------

    def _ask(self, node: VirtualNode, fetch: Fetch) -> None:
        fetch.turn += 1
        fetch.source = ""
        turn = fetch.turn
        owner = self.owners_of(fetch.blob)[0]
        must_decide = owner != self._rings[fetch.blob][0]
        self.after(LATENCY, lambda: self._asked(node, fetch, turn, owner, must_decide))

    def _asked(self, node: VirtualNode, fetch: Fetch, turn: int, owner: str, must_decide: bool) -> None:
        if fetch.turn != turn or not node.is_alive:
            return
        ask = FetchAsk(
            fetch.blob + 1,
            self.keys[fetch.blob],
            0,
            fetch.offset,
            self.sizes[fetch.blob],
            must_decide,
            is_urgent=not node.yields.may_yield(self.digests[fetch.blob], self.now)
            and self.now - max(fetch.asked_at, fetch.arrived_at) >= URGENT_AFTER,
        )
        failed, stalled = tuple(fetch.failed), tuple(fetch.stalled)
        leases = self.owners[owner]
        told = leases.ask(node.name, ask, failed, stalled, self.now, int(self.now * 1000))
        self._drain(leases)
        self.after(LATENCY, lambda: self._told(node, fetch, told, turn))
        if told.verdict == Verdict.WAIT:
            self.after(REPEAT_INTERVAL, lambda: self._repeat(node, fetch, turn))

    def _repeat(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        if fetch.turn == turn and not fetch.is_done:
            self._ask(node, fetch)

    def _told(self, node: VirtualNode, fetch: Fetch, told: FetchTold, turn: int) -> None:
        if fetch.turn != turn or fetch.source or not node.is_alive or told.verdict == Verdict.WAIT:
            return
        digest = self.digests[fetch.blob]
        if told.verdict in {Verdict.READ, Verdict.ATTACH}:
            node.receptions.attached(digest, told.stamp)
            fetch.patience = stall_patience(told.depth)
            self._read_from(node, fetch, self._names[told.sources[0]])
            return
        if told.verdict == Verdict.LEASE:
            node.receptions.leased(digest, told.token)
        else:
            self.uncounted_404s += 1
        self._go_upstream(node, fetch)

    def _go_upstream(self, node: VirtualNode, fetch: Fetch) -> None:
        fetch.turn += 1
        if not self.has_shared_slots:
            self._fetch(node, fetch)
            return
        self._free_slot(node, fetch)
        self._with_slot(node, fetch, self._fetch)

    def _fetch(self, node: VirtualNode, fetch: Fetch) -> None:
        fetch.source, fetch.turn = "registry", fetch.turn + 1
        turn = fetch.turn
        self.upstream[fetch.blob] += 1
        now_fetching = sum(
            one.is_alive and fetch.blob in one.fetches and one.fetches[fetch.blob].source == "registry"
            for one in self.nodes.values()
        )
        self.most_upstream[fetch.blob] = max(self.most_upstream[fetch.blob], now_fetching)
        self.after(REGISTRY_LATENCY, lambda: self._step(node, fetch, turn, self.registry))

    def _read_from(self, node: VirtualNode, fetch: Fetch, source: str) -> None:
        fetch.source, fetch.grown_at = source, max(fetch.grown_at, fetch.asked_at)
        fetch.turn += 1
        turn = fetch.turn
        self.after(LATENCY, lambda: self._tail(node, fetch, turn))

    def _tail(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        parent = self.nodes.get(fetch.source)
        if fetch.turn != turn or parent is None or not node.is_alive:
            return
        held = parent.fetches.get(fetch.blob)
        if not parent.is_alive:
            return
        if held is not None and held.offset > fetch.offset:
            self._step(node, fetch, turn, parent.uplink, available=held.offset)
        else:
            parent.tails.setdefault(fetch.blob, []).append(lambda: self._tail(node, fetch, turn))

    def _step(
        self, node: VirtualNode, fetch: Fetch, turn: int, link: Link, *, available: int | None = None
    ) -> None:
        if fetch.turn != turn or not node.is_alive:
            return
        size = self.sizes[fetch.blob]
        count = min(STEP, (size if available is None else available) - fetch.offset)
        done_at = max(link.send(count, self.now), node.downlink.send(count, self.now))
        self.after(done_at - self.now, lambda: self._arrived(node, fetch, turn, link, count))

    def _arrived(self, node: VirtualNode, fetch: Fetch, turn: int, link: Link, count: int) -> None:
        if fetch.turn != turn or not node.is_alive:
            return
        if fetch.source != "registry" and not self.nodes[fetch.source].is_alive:
            return
        size = self.sizes[fetch.blob]
        fetch.offset += count
        fetch.grown_at = fetch.arrived_at = self.now
        if fetch.offset == count:
            self.answered_at.append(self.now - fetch.asked_at)
        digest = self.digests[fetch.blob]
        is_first = fetch.offset == count
        node.receptions.changed(digest, offset=fetch.offset, total=size, now=self.now)
        node.yields.began(digest)
        if is_first or fetch.offset == size:
            self._report(node)
        for wake in node.tails.pop(fetch.blob, []):
            self.after(POLL_DELAY, wake)
        if fetch.offset >= size:
            self._free_slot(node, fetch)
            fetch.turn += 1
            self.after(COMMIT_DELAY, lambda: self._committed(node, fetch))
        elif fetch.source == "registry":
            self._step(node, fetch, turn, link)
        else:
            self._tail(node, fetch, turn)

    def _committed(self, node: VirtualNode, fetch: Fetch) -> None:
        if not node.is_alive:
            return
        fetch.is_done, fetch.source = True, ""
        node.receptions.ended(self.digests[fetch.blob], is_done=True)
        self._report(node)
        self.after(RECORD_DELAY, lambda: self._recorded(node, fetch.blob))
        if all(one.is_done for one in node.fetches.values()):
            node.finished_at = self.now

    def _recorded(self, node: VirtualNode, number: int) -> None:
        if node.is_alive:
            self.holders[number][node.name] = None

    def _leave_stalled(self, node: VirtualNode) -> None:
        for fetch in node.fetches.values():
            if fetch.is_done or fetch.source in {"", "registry"} or not node.is_alive:
                continue
            if fetch.grown_at + fetch.patience <= self.now:
                told = fetch.stalled if self.nodes[fetch.source].is_alive else fetch.failed
                told.append(fetch.source)
                fetch.grown_at = self.now
                self._ask(node, fetch)
