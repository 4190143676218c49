"""Who sent bytes of which blob, so that wrong ones can be laid at somebody's door.

Blob bytes pass unread and containerd verifies them, so the news comes late and names no
holder: it may have been any of those whose bytes were joined. All of them are shunned
for that one digest, and asked for everything else as before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from spegel_gossip.oci.digest import Digest

BAN_TIMEOUT: Final = 600.0
"""Seconds for which a holder is not asked for a digest of which it may have sent wrong bytes."""

MAX_REMEMBERED: Final = 4_096
"""Digests whose sources are remembered, and digests with bans; the oldest are forgotten first."""


class Blame:
    """The sources of recent blobs, and the bans."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the clock, in seconds."""
        self._clock = clock
        self._sources: OrderedDict[Digest, dict[str, None]] = OrderedDict()
        self._bans: OrderedDict[Digest, dict[str, float]] = OrderedDict()

    def gave(self, digest: Digest, holder: str) -> None:
        """Remember that bytes of a blob came from a holder."""
        self._sources.setdefault(digest, {})[holder] = None
        self._sources.move_to_end(digest)
        if len(self._sources) > MAX_REMEMBERED:
            self._sources.popitem(last=False)

    def condemn(self, digest: Digest) -> tuple[str, ...]:
        """Ban all who sent bytes of a blob, and return their names."""
        holders = tuple(self._sources.pop(digest, ()))
        if holders:
            until = self._clock() + BAN_TIMEOUT
            self._bans.setdefault(digest, {}).update(dict.fromkeys(holders, until))
            if len(self._bans) > MAX_REMEMBERED:
                self._bans.popitem(last=False)
        return holders

    def is_banned(self, digest: Digest, holder: str) -> bool:
        """Return whether a holder is not to be asked for a digest now."""
        bans = self._bans.get(digest)
        if bans is None:
            return False
        now = self._clock()
        for name in [name for name, until in bans.items() if until <= now]:
            del bans[name]
        if not bans:
            del self._bans[digest]
        return holder in bans
