"""This node's tags: when upstream said what, what is advertised of it, and what was purged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio

from spegel_gossip.content import TagChanged
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import pack_key, unpack_key_untrusted
from spegel_gossip.directory.messages import PurgeItem
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.asking import unix_ms
from spegel_gossip.lookup.clocks import Clocks
from spegel_gossip.lookup.config import LookupConfig
from spegel_gossip.lookup.memory import TagMemory
from spegel_gossip.lookup.snapshots import PurgeView
from spegel_gossip.lookup.tags import TagObservations
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

log = structlog.get_logger(__name__)

PURGE_PATIENCE: Final = 2.0
"""Seconds whoever purges a tag waits for all members to acknowledge; they are told on after that."""

PURGE_POLL: Final = 0.02


class Tagging:
    """What this node says of tags, and no longer says."""

    def __init__(
        self, directory: Directory, config: LookupConfig, *, wake_driver: Callable[[], None]
    ) -> None:
        """Read what is remembered; `recall` hands it to the engine."""
        self._directory = directory
        self._wake_driver = wake_driver
        self._tags = TagObservations()
        self._clocks = Clocks()
        self._memory = TagMemory(config.state_dir, self._tags)

    def answered(self, name: TagName, observed_at: float | None) -> None:
        """Remember what this node's mirror just told its containerd."""
        self._tags.answered(name, observed_at, unix_ms() / 1000)

    def observed_at(self, name: TagName, digest: Digest) -> float | None:
        """Return when upstream said that a tag names a digest; 0: nobody knows, None: it was purged."""
        observed_at = self._tags.observed_at(name, digest, unix_ms() / 1000)
        purges = self._directory.purges
        is_purged = purges.covers(pack_key(name), int(observed_at * 1000), trio.current_time())
        return None if is_purged else observed_at

    def changed(self, event: TagChanged, now: float) -> None:
        """Advertise what a tag names here now."""
        observed_at = self._tags.observe(event.name, event.target.digest, unix_ms() / 1000)
        self._memory.changed()
        self._directory.put(
            pack_key(event.name),
            now,
            size=event.target.size,
            digest=pack_key(event.target.digest),
            observed_at_ms=int(observed_at * 1000),
        )

    def removed(self, name: TagName, now: float) -> None:
        """Advertise a tag no more."""
        self._tags.forget(name)
        self._memory.changed()
        self._directory.withdraw(pack_key(name), now)

    async def purge(self, name: TagName) -> PurgeView:
        """Have the whole cluster forget what it knows of a tag; return how many were told within 2 s."""
        key, at_ms = pack_key(name), unix_ms() - self._compare_clocks()
        self._directory.purge(key, at_ms, trio.current_time())
        self._wake_driver()
        with trio.move_on_after(PURGE_PATIENCE):
            # A person waits, and 20 ms more are nothing to him.
            while self._directory.purges.owed(key):  # noqa: ASYNC110
                await trio.sleep(PURGE_POLL)
        members = len(self._directory.members)
        return PurgeView(name, at_ms / 1000, members, members - self._directory.purges.owed(key))

    def clock_differs(self, member: str, seconds: float) -> None:
        """Take in by how much a member's clock is ahead of ours: purges are told by the cluster's."""
        self._clocks.differs(member, seconds)
        self._compare_clocks()

    def purged(self, item: PurgeItem) -> None:
        """Drop what was observed before a purge."""
        name = unpack_key_untrusted(item.key)
        if isinstance(name, TagName):
            self._tags.purge(name, self._directory.purges.by_own_clock(item.at_ms) / 1000)
            self._memory.changed()
            metrics.PURGES.inc()
            log.info("tag purged", tag=str(name), until_ms=item.at_ms)

    async def run(self) -> None:
        """Keep what is remembered on disk until cancelled, and once more at the end."""
        for name, at_ms in self._memory.purged.items():
            self._directory.recall_purge(pack_key(name), at_ms, trio.current_time(), unix_ms())
        try:
            await self._memory.run(self._in_force)
        finally:
            self._memory.save(self._in_force())

    def _compare_clocks(self) -> int:
        """Have the directory know by how much our clock is ahead of the cluster's now, and return it."""
        lead_ms = self._clocks.lead_ms(self._directory.members)
        self._directory.purges.clock_lead_ms = lead_ms
        return lead_ms

    def _in_force(self) -> dict[TagName, int]:
        known = self._directory.purges.known(trio.current_time())
        named = ((unpack_key_untrusted(key), at_ms) for key, at_ms in known.items())
        return {name: at_ms for name, at_ms in named if isinstance(name, TagName)}
