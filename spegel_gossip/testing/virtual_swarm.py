"""A cluster that pulls one image, in virtual time: links, ingests, download slots, and the real rules.

The owners' `Leases` and the nodes' `Receptions`, `Yields` and `Uplink` are those of the
product. What is simulated is what they meet: a registry and links of some bandwidth, ingests
that grow 1 MiB at a time, and containerd's three download slots with their queue. Links send
whole steps in turn, so streams that share one get equal parts of it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from spegel_gossip.directory.fetch_messages import Progress, ProgressItem, ProgressState
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.leases import UNASKED, Leases
from spegel_gossip.directory.parents import Known
from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.receptions import ReceptionState
from spegel_gossip.swim.names import name_hash
from spegel_gossip.testing.virtual_containerd import VirtualContainerd
from spegel_gossip.testing.virtual_mirror import LATENCY, VirtualMirror
from spegel_gossip.testing.virtual_node import REGISTRY, Fetch, Link, VirtualNode
from spegel_gossip.testing.virtual_sources import has_source

STEP: Final = 1 << 20
POLL_DELAY: Final = 0.01
"""Seconds until a tail sees a step, on average."""

RECORD_DELAY: Final = 0.1
"""Seconds from a commit until the owners have the record."""

OWNERS_ASKED: Final = 2
MANIFEST_BYTES: Final = 2_000
_STATES = {
    ReceptionState.ARRIVING: ProgressState.ARRIVING,
    ReceptionState.IDLE: ProgressState.IDLE,
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
        has_manifest: bool = False,
        step: int = STEP,
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
            has_manifest: whether a small blob comes before the others, and names them
            step: in which ingests grow
        """
        self.now = 0.0
        self.rng = random.Random(seed)
        self.has_manifest = has_manifest
        self.sizes = [MANIFEST_BYTES, *sizes] if has_manifest else sizes
        self.registry = Link(registry_rate)
        self.has_shared_slots, self.has_swarm = has_shared_slots, has_swarm
        self.nodes = {f"n{number}": VirtualNode(f"n{number}", node_rate) for number in range(n)}
        self.keys = [pack_key(Digest("sha256", f"{self.rng.getrandbits(256):064x}")) for _ in self.sizes]
        self.digests = [Digest("sha256", key[1:].hex()) for key in self.keys]
        self.blob_of = {key: number for number, key in enumerate(self.keys)}
        self.holders: dict[int, dict[str, None]] = {number: {} for number in self.blobs()}
        self.most_upstream: Counter[int] = Counter()
        """The most fetches of each blob from upstream at the same time, of those under a lease."""
        self.lease_holders: dict[int, dict[str, None]] = {number: {} for number in self.blobs()}
        self.yields = self.busy = self.uncounted_404s = self.failed_pulls = 0
        self.needless_404s: list[tuple[float, str, int]] = []
        """Of them and of the leases: those given while another node had it all, or more of it and growing."""
        self.is_split_known = False
        """Whether each side has declared the nodes of the others dead."""
        self.registry_piece = step
        """Bytes that the registry sends each at a time: less than a step, and all steps take longer."""
        self.is_registry_away = False
        """Whether connections to it are refused, and those that were open have broken."""
        self.asks_in_order = True
        """Whether each containerd asks for layers as the manifest has them, or in an order of its own."""
        self.keeps_ingests = True
        """Whether the ingests of a pull that failed stay, as in containerd 1.6; 2.2 removes them."""
        self.longest_wait, self.most_partial_uploads = 0.0, 0
        self.answered_at: list[float] = []
        self._step = step
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._names = {name_hash(name): name for name in self.nodes}
        zones = dict.fromkeys(self.nodes, "z")
        self.owners = {
            name: Leases(partial(self._known, name), zones, number << 32, self._names.get)
            for number, name in enumerate(self.nodes)
        }
        self._rings = [self.rng.sample(sorted(self.nodes), n) for _ in self.sizes]
        self._wanting: dict[str, VirtualNode] = {}
        self.reported_at: dict[tuple[str, str, PackedKey], float] = {}
        """When an owner last heard of a node's copy of a blob that it arrives there."""
        self.mirror, self.containerd = VirtualMirror(self), VirtualContainerd(self)
        self.after(0.05, self._tick)

    # -- driving it ---------------------------------------------------------------------------

    def pull(self, names: list[str] | None = None, *, spread: float = 0.01) -> None:
        """Have nodes pull all blobs, within so many seconds of each other."""
        for name in names or list(self.nodes):
            self._wanting[name] = self.nodes[name]
            self.after(self.rng.uniform(0.0, spread), partial(self.containerd.begin, self.nodes[name]))

    def give(self, name: str, *, but: Collection[int] = ()) -> None:
        """Let a node have everything already, or all but some."""
        for number in self.blobs():
            if number not in but:
                self.holders[number][name] = None
                self.nodes[name].fetches[number] = Fetch(number, self.sizes[number], is_done=True)
        self.nodes[name].finished_at = None if but else self.now

    def kill(self, name: str) -> None:
        """Take a node away without a word; the others learn of its records at once, of nothing else."""
        self.nodes[name].is_alive = False
        for held in self.holders.values():
            held.pop(name, None)

    def want_no_more(self, node: VirtualNode) -> None:
        """Wait no longer for a node to end."""
        self._wanting.pop(node.name, None)

    def run(self, until: float) -> None:
        """Let time pass until everybody is done, or until then."""
        while self._events and self._events[0][0] <= until and not self.is_over():
            self.now, _, action = heapq.heappop(self._events)
            action()
        if not self.is_over():
            self.now = until

    def is_over(self) -> bool:
        """Whether every living node has all it wanted."""
        return all(node.finished_at is not None for node in self._wanting.values() if node.is_alive)

    @property
    def makespan(self) -> float:
        """When the last one was done."""
        living = [node for node in self._wanting.values() if node.is_alive]
        return max((float("inf") if one.finished_at is None else one.finished_at) for one in living)

    @property
    def egress(self) -> float:
        """What the registry sent, as a multiple of the image."""
        return self.registry.sent / sum(self.sizes)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, action))

    def wanted(self, blobs: list[int]) -> list[int]:
        """Return blobs in the order in which a containerd asks for them."""
        return blobs if self.asks_in_order else self.rng.sample(blobs, len(blobs))

    # -- what is where ------------------------------------------------------------------------

    def blobs(self) -> list[int]:
        """Return the numbers of all blobs."""
        return list(range(len(self.sizes)))

    def ring_of(self, number: int) -> list[str]:
        """Return all nodes, those that look after a blob in front."""
        return self._rings[number]

    def owners_of(self, number: int, asker: str) -> list[str]:
        """Return the two nodes that look after a blob, of those that live as far as an asker knows."""
        owners: list[str] = []
        for name in self._rings[number]:
            if self.nodes[name].is_alive and not (self.is_split_known and self.is_cut(name, asker)):
                owners.append(name)
            if len(owners) == OWNERS_ASKED:
                break
        return owners

    def name_of(self, hashed: int) -> str:
        """Return the node whose name has this hash."""
        return self._names[hashed]

    def is_cut(self, one: str, other: str) -> bool:
        """Return whether nothing passes between two nodes."""
        ends = (self.nodes[one], self.nodes[other])
        return not all(end.is_alive for end in ends) or ends[0].side != ends[1].side

    # -- owners -------------------------------------------------------------------------------

    def _known(self, owner: str, key: PackedKey, asker: str) -> Known:
        number = self.blob_of[key]
        held = self.holders[number]
        names = tuple(name for name in held if name != asker and not self.is_cut(owner, name)) if held else ()
        return Known(names, self.sizes[number])

    def _tick(self) -> None:
        for name, leases in self.owners.items():
            timer_at = leases.next_timer_at()
            if self.nodes[name].is_alive and timer_at is not None and timer_at <= self.now:
                leases.handle_timer(self.now)
                self.drain(name)
        if int(self.now / 0.05) % 5 == 0:
            for node in self.nodes.values():
                self.report(node)
                self.mirror.leave_stalled(node)
        self.after(0.05, self._tick)

    def drain(self, owner: str) -> None:
        """Send what an owner has to tell to those who waited."""
        for asker, told in self.owners[owner].told():
            node = self.nodes[asker]
            if self.is_cut(owner, asker):
                continue
            if told.id == UNASKED:
                node.receptions.crowded(self.now)
                continue
            fetch = node.fetches[told.id - 1]
            self.after(LATENCY, partial(self.mirror.told, node, fetch, told, fetch.turn))

    def report(self, node: VirtualNode) -> None:
        """Tell the owners how far a node is, where it is time to."""
        if not node.is_alive or not self.has_swarm:
            return
        report = node.receptions.report(self.now)
        if report is None:
            return
        uplink, has_spare = node.meter.rate(self.now), node.meter.has_spare(self.now)
        for one in report.receptions:
            if one.state is ReceptionState.DONE and not one.token:
                continue  # its record says so
            key = pack_key(one.digest)
            parent = name_hash(one.parent) if one.parent else 0
            item = ProgressItem(key, one.token, one.offset, one.total, _STATES[one.state], parent)
            message = Progress(0, report.sharing, report.is_growing, (item,), uplink, has_spare)
            for owner in self.owners_of(self.blob_of[key], node.name):
                self.after(LATENCY, partial(self._progress, owner, node.name, message))

    def _progress(self, owner: str, sender: str, message: Progress) -> None:
        if not self.is_cut(owner, sender):
            self.reported_at |= {(owner, sender, item.key): self.now for item in message.items}
            self.owners[owner].progress(sender, message, self.now, int(self.now * 1000))
            self.drain(owner)

    # -- bytes --------------------------------------------------------------------------------

    def step(
        self,
        node: VirtualNode,
        fetch: Fetch,
        turn: int,
        parent: VirtualNode | None,
        *,
        available: int | None = None,
        sent: int = 0,
    ) -> None:
        """Send a node the next step of a blob, or the rest of it, from the registry or from another node."""
        if fetch.turn != turn or not node.is_alive:
            return
        if parent is None and self.is_registry_away:
            self.containerd.upstream_broke(node, fetch)
            return
        if parent is None and (not node.upstream_rate or not self.registry.rate):
            # A registry that says nothing is looked at again: it may come back.
            self.after(1.0, partial(self.step, node, fetch, turn, None))
            return
        size = self.sizes[fetch.blob]
        count = min(self._step, (size if available is None else available) - fetch.offset)
        link = self.registry if parent is None else parent.uplink
        piece = count - sent if parent is not None else min(count - sent, self.registry_piece)
        done_at = max(link.send(piece, self.now), node.downlink.send(piece, self.now))
        if parent is None:
            done_at = max(done_at, self.now + piece / node.upstream_rate)
            if sent + piece < count:
                rest = partial(self.step, node, fetch, turn, None, sent=sent + piece)
                self.after(done_at - self.now, rest)
                return
        else:
            fetch.drips_until = done_at
            parent.meter.upload_began()
            parent.meter.wait_began(self.now)
        self.after(done_at - self.now, partial(self._arrived, node, fetch, turn, parent, count))

    def _arrived(
        self, node: VirtualNode, fetch: Fetch, turn: int, parent: VirtualNode | None, count: int
    ) -> None:
        if parent is not None:
            parent.meter.wait_ended(self.now)
            parent.meter.sent(count, self.now)
            parent.meter.upload_ended()
        if fetch.turn != turn or not node.is_alive or (parent and self.is_cut(node.name, parent.name)):
            return
        fetch.offset += count
        is_first = fetch.offset == count
        fetch.grown_at = fetch.arrived_at = self.now
        if is_first:
            self.answered_at.append(self.now - fetch.asked_at)
        self._grown(node, fetch, is_first=is_first)
        if fetch.offset >= self.sizes[fetch.blob]:
            self.mirror.leave(node, fetch)
            self.containerd.complete(node, fetch)
        elif parent is None:
            fetch.has_upstream_given = True
            self.step(node, fetch, turn, None)
        else:
            self.mirror.tail(node, fetch, turn)

    def _grown(self, node: VirtualNode, fetch: Fetch, *, is_first: bool) -> None:
        digest, size = self.digests[fetch.blob], self.sizes[fetch.blob]
        node.receptions.changed(digest, offset=fetch.offset, total=size, now=self.now)
        node.yields.began(digest)
        self.most_partial_uploads = max(self.most_partial_uploads, node.partial_uploads)
        if is_first or fetch.offset == size:
            self.report(node)
        for wake in node.tails.pop(fetch.blob, []):
            self.after(POLL_DELAY, wake)

    def committed(self, node: VirtualNode, blob: int) -> None:
        """Tell of a blob that a node has from now on."""
        self.report(node)
        self.after(RECORD_DELAY, partial(self._recorded, node, blob))

    def _recorded(self, node: VirtualNode, number: int) -> None:
        if node.is_alive:
            self.holders[number][node.name] = None
            for owner in self.owners_of(number, node.name):
                if not self.is_cut(owner, node.name):
                    self.owners[owner].noted_holder(self.keys[number], node.name, self.now)
                    self.drain(owner)

    # -- counting -----------------------------------------------------------------------------

    def upstream_began(self, blob: int) -> None:
        """Count who fetches a blob from the registry now."""
        fetching = sum(
            one.is_alive
            and blob in one.fetches
            and one.fetches[blob].source == REGISTRY
            and one.fetches[blob].is_leased
            for one in self.nodes.values()
        )
        self.most_upstream[blob] = max(self.most_upstream[blob], fetching)

    def leased(self, node: VirtualNode, fetch: Fetch) -> None:
        """Count a 404 that is a lease."""
        fetch.is_leased = True
        self.lease_holders[fetch.blob][node.name] = None
        if has_source(self, node, fetch):
            self.needless_404s.append((self.now, node.name, fetch.blob))

    def left_alone(self, node: VirtualNode, fetch: Fetch) -> None:
        """Count a 404 that is none."""
        fetch.is_leased = False
        self.uncounted_404s += 1
        if has_source(self, node, fetch):
            self.needless_404s.append((self.now, node.name, fetch.blob))
