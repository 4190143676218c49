"""A network and a clock that exist in memory only, the same for the same seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

Action = Callable[[], None]


def nothing_dropped(_source: str, _target: str) -> bool:
    """Let everything pass; the default of `SimNetwork.drop`."""
    return False


@dataclass(slots=True)
class Traffic:
    """What one node has sent."""

    datagrams: int = 0
    datagram_bytes: int = 0


class SimNetwork:
    """Delivers datagrams late, twice or not at all; time passes only in `run_until`."""

    def __init__(
        self,
        rng: random.Random,
        *,
        delay: tuple[float, float] = (0.0005, 0.005),
        loss: float = 0.0,
        duplication: float = 0.0,
        stream_timeout: float = 5.0,
    ) -> None:
        self.now = 0.0
        self.loss = loss
        self.duplication = duplication
        self.drop: Callable[[str, str], bool] = nothing_dropped
        """Says of (source, target) whether neither datagrams nor streams pass."""
        self.drop_datagrams: Callable[[str, str], bool] = nothing_dropped
        """The same for datagrams alone: a firewall that knows no UDP."""
        self.traffic: dict[str, Traffic] = {}
        self.events = 0
        """Things done so far: datagrams and messages that arrived, timers that ran."""
        self._rng = rng
        self._delay = delay
        self._stream_timeout = stream_timeout
        self._queue: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, when: float, action: Action) -> None:
        """Do something at a time; those for the same time in the order of asking."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, action))

    def run_until(self, when: float) -> None:
        """Let time pass, and do what was asked for on the way."""
        while self._queue and self._queue[0][0] <= when:
            self.now, _, action = heapq.heappop(self._queue)
            self.events += 1
            action()
        self.now = max(self.now, when)

    def carry_datagram(self, source: str, target: str, size: int, deliver: Action) -> None:
        """Carry one datagram, if fate allows."""
        sent = self.traffic.setdefault(source, Traffic())
        sent.datagrams += 1
        sent.datagram_bytes += size
        for _ in range(2 if self._rng.random() < self.duplication else 1):
            is_lost = self._rng.random() < self.loss
            delay = self._rng.uniform(*self._delay)
            if is_lost or self.drop(source, target) or self.drop_datagrams(source, target):
                continue
            self.at(self.now + delay, deliver)

    def carry_message(self, source: str, target: str, deliver: Action, fail: Action) -> None:
        """Carry one message of a stream: it arrives, or its sender waits for its timeout."""
        if self.drop(source, target):
            self.at(self.now + self._stream_timeout, fail)
        else:
            self.at(self.now + self._rng.uniform(*self._delay), deliver)

    def wait_for_timeout(self, fail: Action) -> None:
        """Let a stream run into its timeout: the other end is there, but does not answer."""
        self.at(self.now + self._stream_timeout, fail)
