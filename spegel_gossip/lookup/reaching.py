"""Walks the images that are here, and notes what each of their repositories reaches."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from spegel_gossip.content import TagChanged
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import parse_manifest_untrusted
from spegel_gossip.oci.media_type import MANIFESTS
from spegel_gossip.oci.reach import Reach
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.wholeness import MAX_MANIFESTS_VISITED

ReadManifest = Callable[[Digest], Awaitable[bytes | None]]
"""Returns the bytes of a manifest that is here, or None."""


class Reacher:
    """Looks through one image after the other, the latest news of each tag."""

    def __init__(self, reach: Reach, read: ReadManifest) -> None:
        self.reach = reach
        self._read = read
        # As many as there are tags here: bounded by the store.
        self._waiting: dict[TagName, TagChanged] = {}
        self._woken = trio.Event()

    def look_at(self, tag: TagChanged) -> None:
        """Look through an image soon."""
        self._waiting[tag.name] = tag
        self._woken.set()

    async def run(self) -> None:
        """Look through images until cancelled."""
        while True:
            while self._waiting:
                name = next(iter(self._waiting))
                await self._walk(self._waiting.pop(name))
            self._woken = trio.Event()
            await self._woken.wait()

    async def _walk(self, tag: TagChanged) -> None:
        root = tag.target.digest
        self.reach.add(tag.name.registry, tag.name.repository, (root,))
        waiting, visited = deque([root]), {root: None}
        while waiting and len(visited) <= MAX_MANIFESTS_VISITED:
            content = await self._read(waiting.popleft())
            if content is None:
                continue
            try:
                manifest = parse_manifest_untrusted(content)
            except InvalidManifestError:
                continue
            children = [child.digest for child in manifest.children]
            self.reach.add(tag.name.registry, tag.name.repository, children)
            for child in manifest.children:
                if child.media_type in MANIFESTS and child.digest not in visited:
                    visited[child.digest] = None
                    waiting.append(child.digest)
