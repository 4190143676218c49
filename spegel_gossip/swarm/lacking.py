"""How much this node lacks of the images that it is about to pull, by which owners place it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from spegel_gossip.oci.digest import Digest

MAX_PARTS: Final = 4_096
"""Parts of images remembered; those named longest ago are forgotten first."""

MAX_TOGETHER: Final = 1 << 62
"""Bytes, at most: sizes are what manifests say, and those come from anybody."""


class Lacking:
    """The bytes that go together, by each blob of them."""

    def __init__(self) -> None:
        """Know of no image."""
        self._together: OrderedDict[Digest, int] = OrderedDict()

    def note(self, parts: Mapping[Digest, int]) -> None:
        """Take in what is lacked of an image, with the sizes of its parts in bytes."""
        together = min(sum(parts.values()), MAX_TOGETHER)
        for digest in parts:
            self._together[digest] = together
            self._together.move_to_end(digest)
        while len(self._together) > MAX_PARTS:
            self._together.popitem(last=False)

    def together(self, digest: Digest) -> int:
        """Return how many bytes were lacked of the image that a blob is part of; 0 if nobody said."""
        return self._together.get(digest, 0)
