"""Gossip rounds: claims to a few random members, while there is something to spread."""

from __future__ import annotations

import random

from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.courier import Courier
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.members import Entry
from spegel_gossip.swim.view import View

RECENTLY_DEAD = 16
"""Ex-members among which those who died just now are looked for."""


class Gossiper:
    """Empties the dissemination queue; an idle cluster has no gossip rounds at all."""

    def __init__(self, view: View, courier: Courier, config: SwimConfig, rng: random.Random) -> None:
        self._view = view
        self._courier = courier
        self._config = config
        self._rng = rng
        self._round_at: float | None = None

    def next_timer_at(self) -> float | None:
        """Return when the next round is due; None while there is nothing to spread."""
        return self._round_at

    def schedule(self, now: float) -> None:
        """Look whether there is something to spread; to be called after whatever may have changed it."""
        if len(self._view.queue) == 0:
            self._round_at = None
        elif self._view.table.n == 1:
            # Nobody to tell. Whoever comes learns all of it by push-pull.
            self._view.queue.clear()
            self._round_at = None
        elif self._round_at is None:
            self._round_at = now + self._config.gossip_interval

    def hurry(self, now: float) -> None:
        """Have the next round at once: we are leaving."""
        self._round_at = now
        self.schedule(now)

    def handle_timer(self, now: float) -> None:
        """Have a round if it is due."""
        self.schedule(now)
        if self._round_at is None or self._round_at > now:
            return
        for entry in self._targets(now):
            if len(self._view.queue) == 0:
                break
            self._courier.send(None, to=entry.address, target=entry.name, now=now)
        self._round_at = now + self._config.gossip_interval
        self.schedule(now)

    def _targets(self, now: float) -> list[Entry]:
        """Return whom to tell: live members, and those who died just now, so that they can deny it."""
        fanout = self._config.gossip_fanout
        live = self._next_live(fanout)
        since = now - self._config.gossip_to_the_dead_timeout
        dead = [
            entry
            for entry in self._view.table.latest_ex_members(RECENTLY_DEAD)
            if entry.state is MemberState.DEAD and entry.since_at > since
        ]
        if not dead:
            return live
        candidates = live + self._rng.sample(dead, min(fanout, len(dead)))
        return self._rng.sample(candidates, min(fanout, len(candidates)))

    def _next_live(self, count: int) -> list[Entry]:
        """Return the next members of a walk through all of them in random order.

        Independent choices leave each member out with probability e^-m after m
        transmits by each, 2 % in a cluster of eight, where m is 4. A walk does not
        tell one member twice while another waits, and costs no packet more.
        """
        table = self._view.table
        chosen: dict[str, Entry] = {}
        # Where one walk ends and the next begins, a name may come twice.
        for _ in range(2 * count):
            if len(chosen) == min(count, table.n - 1):
                break
            name = self._view.gossip_order.next_member()
            if name is None:
                break
            chosen[name] = table[name]
        return list(chosen.values())
