"""Which repositories' images, or requests for them, have reached a digest on this node.

A content store knows digests, not names: the same layer may belong to an image that the
operator shares and to one that he keeps to himself. What an allowed name leads to may be
known to others; what no name has led to stays unknown, as its name might be a hidden one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from spegel_gossip.oci.digest import Digest

MAX_DIGESTS: Final = 200_000
"""Digests remembered: twice what a node advertises; the one not reached for longest goes first."""

MAX_REPOSITORIES: Final = 64
"""Repositories remembered for one digest: a base layer may be everywhere."""

Repository = tuple[str, str]
"""A registry, by its normal name, and a repository there."""


class Reach:
    """The digests that were reached, each with from where."""

    def __init__(self) -> None:
        self._repositories: OrderedDict[Digest, dict[Repository, None]] = OrderedDict()
        self.on_reached: Callable[[Digest], None] = lambda _digest: None
        """Told of each digest when it is reached for the first time."""

    def add(self, registry: str, repository: str, digests: Iterable[Digest]) -> None:
        """Note that an image of this repository, or a request for it, reaches these."""
        for digest in digests:
            known = self._repositories.get(digest)
            if known is None:
                self._repositories[digest] = {(registry, repository): None}
                if len(self._repositories) > MAX_DIGESTS:
                    self._repositories.popitem(last=False)
                self.on_reached(digest)
                continue
            self._repositories.move_to_end(digest)
            known[registry, repository] = None
            if len(known) > MAX_REPOSITORIES:
                del known[next(iter(known))]

    def is_reached(self, digest: Digest) -> bool:
        """Return whether anything reached a digest."""
        return digest in self._repositories

    def reaches(self, registry: str, repository: str, digest: Digest) -> bool:
        """Return whether something of this repository reached a digest."""
        return (registry, repository) in self._repositories.get(digest, {})
