"""A layout as `serve` offers it: its images are found without the registry that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import trio

from spegel_gossip.content import ContentNotFoundError, TagChanged
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.image_index import NamedEntry
from spegel_gossip.stores.layout.store import LayoutStore

_HUB_PREFIX = "library/"


class ServedLayout(LayoutStore):
    """A layout store whose tags answer to shorter names too.

    A client that is pointed at this registry cannot say which other registry an image is
    from, and one that another program put here may have no more name than a tag.
    """

    def __init__(self, root: Path) -> None:
        """Name the directory; nothing is read yet."""
        super().__init__(LayoutConfig(root=root))
        self._directory = LayoutDirectory(root)

    async def resolve(self, name: TagName) -> TagChanged:
        """Return what a tag names: by its full name, else by one that ends like it, newest first."""
        try:
            return await super().resolve(name)
        except ContentNotFoundError:
            index = await trio.to_thread.run_sync(self._directory.read_index)
        for entry in _answering(index.entries, name):
            if entry.tag is None:
                return TagChanged(name, entry.target, entry.updated_at or 0.0)
            try:
                found = await super().resolve(entry.tag)
            except ContentNotFoundError:
                continue
            return TagChanged(name, found.target, found.updated_at)
        raise ContentNotFoundError(name)


def _answering(entries: tuple[NamedEntry, ...], name: TagName) -> Iterator[NamedEntry]:
    wanted = {name.repository, f"{_HUB_PREFIX}{name.repository}"}
    newest_first = sorted(entries, key=lambda entry: entry.updated_at or 0.0, reverse=True)
    for entry in newest_first:
        if entry.tag is not None and entry.tag.tag == name.tag:
            full = f"{entry.tag.registry}/{entry.tag.repository}"
            if entry.tag.repository in wanted or full == name.repository:
                yield entry
    # A bare tag, such as skopeo writes, is any repository's.
    yield from (entry for entry in newest_first if entry.tag is None and name.tag in entry.names)
