"""The mirrors of a `virtual_swarm`: what they ask the owners, whom they read from, when they leave it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.directory.fetch_messages import FetchAsk, FetchTold, Verdict
from spegel_gossip.swarm.patience import URGENT_AFTER, Doubt, stall_patience
from spegel_gossip.swim.names import name_hash
from spegel_gossip.testing.virtual_node import REGISTRY, Fetch, VirtualNode

if TYPE_CHECKING:
    from spegel_gossip.testing.virtual_swarm import VirtualSwarm

LATENCY: Final = 0.0005
"""Seconds one way, between nodes."""

REPEAT_INTERVAL: Final = 0.5
SILENT_AFTER: Final = 0.6
FIND_INTERVAL: Final = 0.1
"""Seconds until the owner is asked again, after a source that refused."""

MAX_PARTIAL_UPLOADS: Final = 8
MAX_OTHERS_NAMED: Final = 4


class VirtualMirror:
    """What the mirrors of all nodes do for their containerds."""

    def __init__(self, swarm: VirtualSwarm) -> None:
        self._swarm = swarm

    # -- asking -------------------------------------------------------------------------------

    def ask(self, node: VirtualNode, fetch: Fetch, *, silent: int = 0) -> None:
        """Ask the owner whom to read from; the next one, where so many were silent."""
        swarm = self._swarm
        self.leave(node, fetch)
        fetch.turn += 1
        owners = swarm.owners_of(fetch.blob, node.name)
        owner = owners[min(silent, len(owners) - 1)]
        must_decide = owner != swarm.ring_of(fetch.blob)[0]
        swarm.after(LATENCY, partial(self._asked, node, fetch, fetch.turn, owner, must_decide))
        if swarm.is_cut(node.name, owner):
            swarm.after(SILENT_AFTER, partial(self._owner_silent, node, fetch, fetch.turn, silent + 1))

    def _owner_silent(self, node: VirtualNode, fetch: Fetch, turn: int, silent: int) -> None:
        if fetch.turn != turn or not fetch.is_open:
            return
        if silent >= len(self._swarm.owners_of(fetch.blob, node.name)):
            # Nobody can be asked: as if there were no swarm.
            self._swarm.uncounted_404s += 1
            self._swarm.containerd.go_upstream(node, fetch)
        else:
            self.ask(node, fetch, silent=silent)

    def _asked(self, node: VirtualNode, fetch: Fetch, turn: int, owner: str, must_decide: bool) -> None:
        swarm = self._swarm
        if fetch.turn != turn or not node.is_alive or swarm.is_cut(node.name, owner):
            return
        digest = swarm.digests[fetch.blob]
        is_last = not node.yields.may_yield(digest, swarm.now)
        ask = FetchAsk(
            fetch.blob + 1,
            swarm.keys[fetch.blob],
            0,
            fetch.offset,
            swarm.sizes[fetch.blob],
            must_decide,
            is_urgent=is_last and swarm.now - fetch.waits_since >= URGENT_AFTER,
            burden=fetch.burden,
            is_crowded=node.receptions.is_crowded(swarm.now),
            is_blind=node.is_blind,
            busy=tuple(name_hash(name) for name in fetch.busy),
            together=node.together,
            gives_way=fetch.gives_way,
        )
        fetch.busy.clear()
        fetch.decider = owner
        leases = swarm.owners[owner]
        failed, stalled = tuple(fetch.failed), tuple(fetch.stalled)
        told = leases.ask(node.name, ask, failed, stalled, swarm.now, int(swarm.now * 1000))
        swarm.drain(owner)
        swarm.after(LATENCY, partial(self.told, node, fetch, told, turn))
        if told.verdict == Verdict.WAIT:
            swarm.after(REPEAT_INTERVAL, partial(self._repeat, node, fetch, turn))

    def gave_back(self, node: VirtualNode, fetch: Fetch) -> None:
        """Leave a request's source, and the line of those who wait for one."""
        self.leave(node, fetch)
        node.receptions.left(self._swarm.digests[fetch.blob], self._swarm.now)
        self._swarm.report(node)
        if node.receptions.is_given_up(self._swarm.digests[fetch.blob], fetch.offset):
            self.copy_ended(node, fetch)

    def _repeat(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        if fetch.turn == turn and fetch.is_open:
            self.ask(node, fetch)

    def told(self, node: VirtualNode, fetch: Fetch, told: FetchTold, turn: int) -> None:
        """Do what the owner says."""
        swarm = self._swarm
        if not node.is_alive:
            return
        if told.is_crowded:
            node.receptions.crowded(swarm.now)
        if fetch.turn != turn or fetch.source or not fetch.is_open:
            return
        if told.verdict == Verdict.WAIT:
            if fetch.gives_way:
                swarm.containerd.give_way(node, fetch)
            return
        digest = swarm.digests[fetch.blob]
        if fetch.gives_way:
            fetch.gives_way = False
            swarm.containerd.follow(node, fetch)
        if told.verdict in {Verdict.READ, Verdict.ATTACH}:
            parent = swarm.name_of(told.sources[0])
            node.receptions.attached(digest, told.stamp, parent=parent)
            fetch.patience, fetch.stamp = stall_patience(told.depth), told.stamp
            self._read_from(node, fetch, parent)
            return
        if told.verdict == Verdict.LEASE:
            swarm.leased(node, fetch)
            node.receptions.leased(digest, told.token, now=swarm.now)
        else:
            swarm.left_alone(node, fetch)
        swarm.containerd.go_upstream(node, fetch)

    # -- reading ------------------------------------------------------------------------------

    def leave(self, node: VirtualNode, fetch: Fetch) -> None:
        """Read from nobody."""
        parent = self._swarm.nodes.get(fetch.source)
        if parent is not None:
            parent.readers.get(fetch.blob, {}).pop(node.name, None)
            given = fetch.offset - fetch.attached_with
            fetch.drip.left(given, seconds=self._swarm.now - fetch.attached_at)
        fetch.source = ""

    def _read_from(self, node: VirtualNode, fetch: Fetch, source: str) -> None:
        swarm = self._swarm
        fetch.source, fetch.grown_at, fetch.turn = source, swarm.now, fetch.turn + 1
        fetch.drip.begin()
        fetch.attached_at, fetch.attached_with = swarm.now, fetch.offset
        fetch.looked_at, fetch.had = swarm.now, fetch.offset
        swarm.after(LATENCY, partial(self._open, node, fetch, fetch.turn))

    def _open(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        """Reach the source, which may refuse: it looks itself whether it is ahead, and has room."""
        swarm = self._swarm
        parent = swarm.nodes.get(fetch.source)
        if fetch.turn != turn or parent is None or not node.is_alive or swarm.is_cut(node.name, parent.name):
            return
        held = parent.fetches.get(fetch.blob)
        if held is None or (parent.is_blind and not held.is_done):
            self._had_nothing(fetch, fetch.source)
            self._refused(node, fetch)
        elif not held.is_done:
            is_ahead = held.offset > fetch.offset or (
                held.offset == fetch.offset and held.stamp < fetch.stamp
            )
            if not is_ahead:
                fetch.stalled.append(Complaint(fetch.source, swarm.now))
                self._refused(node, fetch)
                return
            if parent.partial_uploads >= MAX_PARTIAL_UPLOADS and parent.readers.get(fetch.blob):
                self._busy(node, fetch, parent)
                return
            parent.readers.setdefault(fetch.blob, {})[node.name] = None
            self.tail(node, fetch, turn)
        else:
            self.tail(node, fetch, turn)

    def _refused(self, node: VirtualNode, fetch: Fetch) -> None:
        fetch.source, fetch.turn = "", fetch.turn + 1
        self._swarm.after(FIND_INTERVAL, partial(self._ask_again, node, fetch, fetch.turn))

    def _busy(self, node: VirtualNode, fetch: Fetch, parent: VirtualNode) -> None:
        """Go to one of those that the busy source named, or ask the owner again."""
        self._swarm.busy += 1
        fetch.busy.append(parent.name)
        others = [name for name in parent.readers.get(fetch.blob, ()) if name != node.name]
        fresh = [name for name in others[-MAX_OTHERS_NAMED:] if name not in (*fetch.failed, *fetch.busy)]
        if fresh:
            self._read_from(node, fetch, fresh[0])
        else:
            self._refused(node, fetch)

    def _ask_again(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        if fetch.turn == turn and fetch.is_open:
            self.ask(node, fetch)

    def tail(self, node: VirtualNode, fetch: Fetch, turn: int) -> None:
        """Read on from the source, or wait until it has more."""
        swarm = self._swarm
        parent = swarm.nodes.get(fetch.source)
        if fetch.turn != turn or parent is None or not node.is_alive:
            return
        if swarm.is_cut(node.name, parent.name):
            return
        held = parent.fetches.get(fetch.blob)
        if held is not None and held.offset > fetch.offset:
            swarm.step(node, fetch, turn, parent, available=held.offset)
        else:
            parent.tails.setdefault(fetch.blob, []).append(partial(self.tail, node, fetch, turn))

    def copy_ended(self, parent: VirtualNode, gone: Fetch) -> None:
        """End the connections of those who read a growing copy that is there no more, or comes no more."""
        for node in self._swarm.nodes.values():
            fetch = node.fetches.get(gone.blob)
            if fetch is not None and fetch.source == parent.name and fetch.is_open:
                if fetch.arrived_at < fetch.asked_at:
                    self._had_nothing(fetch, parent.name)
                else:
                    fetch.failed.append(parent.name)
                self.ask(node, fetch)

    def _had_nothing(self, fetch: Fetch, name: str) -> None:
        """Take a source that gave no byte for one that is busy, once."""
        (fetch.failed if name in fetch.lapsed else fetch.busy).append(name)
        fetch.lapsed.add(name)

    def leave_stalled(self, node: VirtualNode) -> None:
        """Leave sources that sent nothing for too long, or far less than came before."""
        swarm = self._swarm
        for fetch in node.fetches.values():
            waited, moved = swarm.now - fetch.looked_at, fetch.offset - fetch.had
            fetch.looked_at, fetch.had = swarm.now, fetch.offset
            if fetch.is_done or not fetch.is_open or fetch.source in {"", REGISTRY} or not node.is_alive:
                continue
            is_gone = swarm.is_cut(node.name, fetch.source)
            is_silent = (is_gone or fetch.drips_until <= swarm.now) and (
                max(fetch.grown_at, fetch.drips_until) + fetch.patience <= swarm.now
            )
            doubt = fetch.drip.came(moved, waited=waited, patience=fetch.patience)
            if is_silent or doubt is not None:
                if is_gone:
                    fetch.failed.append(fetch.source)
                elif doubt is Doubt.LAG and not is_silent:
                    fetch.busy.append(fetch.source)
                else:
                    fetch.stalled.append(Complaint(fetch.source, swarm.now))
                fetch.grown_at = swarm.now
                self.ask(node, fetch)
