"""Whether this node is ready to be containerd's mirror, and what is not as it should be.

Alone is ready: a cluster of one is a whole cluster, and a node that waited for others
to become ready could never be the first. containerd being down is no reason either,
as long as what it held can be read from disk.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from spegel_gossip.content import ContentStore
from spegel_gossip.health import Health

SEED_PATIENCE = 1.0
"""Seconds after the start for which a seed is waited for before the node is ready without one."""


class Readiness:
    """Judges the node's health from its parts' state, each time it is asked."""

    def __init__(
        self, *, store: ContentStore, has_seeds: bool, has_company: Callable[[], bool], concerns: list[str]
    ) -> None:
        """Take whom to ask.

        Args:
            store: what this node holds
            has_seeds: whether any seed was configured or remembered
            has_company: whether a seed was reached, or another member is known
            concerns: what was found wrong at the start and does not mend itself
        """
        self._store = store
        self._has_seeds = has_seeds
        self._has_company = has_company
        self._concerns = concerns
        self._listening_at: float | None = None
        self._is_stopping = False

    def listening(self, now: float) -> None:
        """Note that every listener is open."""
        self._listening_at = now

    def stopping(self) -> None:
        """Note that the node is on its way out: containerd should go elsewhere."""
        self._is_stopping = True

    def check(self) -> Health:
        """Return the health at this moment."""
        if self._is_stopping:
            return Health(is_ready=False, reasons=("shutting down",))
        if self._listening_at is None:
            return Health(is_ready=False, reasons=("starting: the listeners are not open yet",))
        reasons: list[str] = []
        is_ready = True
        availability = self._store.availability()
        if availability.reason:
            reasons.append(availability.reason)
            is_ready = availability.is_readable
        if self._has_seeds and not self._has_company():
            if trio.current_time() < self._listening_at + SEED_PATIENCE:
                is_ready = False
            reasons.append(
                "no seed reached: this node serves what it has and goes on trying; check that UDP and TCP "
                "to the peer port of the seeds are open and that all nodes have the same cluster key and name"
            )
        return Health(is_ready=is_ready, reasons=(*reasons, *self._concerns))
