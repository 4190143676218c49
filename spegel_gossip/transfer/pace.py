"""How fast a source is, against what is usual here.

Only the time in which the source was waited for counts. A client that takes its bytes
slowly makes every source look slow, and another source would be no faster.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from statistics import median
from typing import Final

from spegel_gossip.swarm.patience import Doubt, Drip
from spegel_gossip.transfer.config import TransferConfig

REMEMBERED_RATES: Final = 64
MIN_SAMPLES: Final = 3
"""Transfers seen before anything is called usual."""

MIN_SAMPLE_BYTES: Final = 1 << 20
"""Of a shorter transfer the rate says more about the latency."""


class Rates:
    """What transfers from peers usually reach here, in bytes a second."""

    def __init__(self) -> None:
        """Know nothing."""
        self._recent: deque[float] = deque(maxlen=REMEMBERED_RATES)

    def add(self, *, moved_bytes: int, seconds: float) -> None:
        """Remember one transfer."""
        if moved_bytes >= MIN_SAMPLE_BYTES and seconds > 0:
            self._recent.append(moved_bytes / seconds)

    @property
    def usual(self) -> float:
        """The median; 0 while too few transfers were seen."""
        return median(self._recent) if len(self._recent) >= MIN_SAMPLES else 0.0


class Verdict(Enum):
    """What a source's pace is worth."""

    FINE = "fine"

    SLOW = "slow"
    """Far below what is usual: another source is better, and this one is better than none."""

    DRIPPING = "dripping"
    """Hardly anything comes: as good as silent."""

    FALLEN_BEHIND = "fallen behind"
    """Of a growing source: far less comes than came before. Its owner knows whether another is better."""

    ENOUGH = "enough"
    """A whole copy's pace may be fine: the slot that it has is wanted for what others wait for."""

    LAGGING = "lagging"
    """Of a growing source: little comes, and nothing came faster. So it is with a slow registry too."""


class Pace:
    """One source's pace, judged each time it has kept us waiting for a while.

    Against what is usual it has a long time to prove itself. A few bytes now and then are
    no better than none: another source is looked for as soon as for a silent one, but what
    drips is left for nothing only after the long time.
    """

    def __init__(
        self,
        config: TransferConfig,
        *,
        rates: Rates | None = None,
        is_replaceable: bool = True,
        drip: Drip | None = None,
        patience: float = 0.0,
    ) -> None:
        """Begin.

        Args:
            config: says how long and how slow
            rates: know what is usual by the time of each judgement; None to compare it with nothing
            is_replaceable: whether another source may be any better
            drip: of a growing source: what its request saw of such
            patience: with it, the seconds of silence that the source may have
        """
        self._config = config
        self._drip = drip
        self._patience = patience
        self._rates = rates
        self._is_replaceable = is_replaceable
        self._dripped = 0.0
        """Seconds waited beyond what the bytes that came are worth at the lowest rate."""
        self._waited = 0.0
        self._moved = 0

    def keep(self) -> None:
        """Call it slow no more: there is nobody to compare it with."""
        self._rates, self._is_replaceable = None, False

    def judge(self, *, waited: float, moved: int) -> Verdict:
        """Count what came in, and say what the pace is worth.

        Args:
            waited: seconds for which the source was waited for since the last time
            moved: bytes that came since the last time
        """
        if self._drip is not None:
            doubt = self._drip.came(moved, waited=waited, patience=self._patience)
            if doubt is not None:
                return Verdict.FALLEN_BEHIND if doubt is Doubt.BEHIND else Verdict.LAGGING
        self._waited += waited
        self._moved += moved
        worth = moved / self._config.min_rate if self._config.min_rate else math.inf
        self._dripped = max(0.0, self._dripped + waited - worth)
        if self._waited < self._config.slow_timeout:
            is_dripping = self._is_replaceable and self._dripped >= self._config.stall_timeout
            return Verdict.SLOW if is_dripping else Verdict.FINE
        rate = self._moved / self._waited
        self._waited, self._moved = 0.0, 0
        if rate < self._config.min_rate:
            return Verdict.DRIPPING
        usual = 0.0 if self._rates is None else self._rates.usual
        return Verdict.SLOW if rate < usual * self._config.slow_fraction else Verdict.FINE
