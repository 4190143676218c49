"""Which image of a layout a person means."""

from __future__ import annotations

from pathlib import Path

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.image_index import NamedEntry

MAX_LISTED = 10
"""Images named in an error."""


def find_image(layout: Path, reference: Reference, image: str | None) -> NamedEntry:
    """Return the image to push: the one that `image` names, or `reference`, or the only one there is.

    Args:
        layout: the directory
        reference: what it will be called
        image: what it is called in the layout, or its digest, if the person said so

    Raises:
        ConfigError: it is not clear which; the message names those that are there.
        ContentStoreUnavailableError: the layout cannot be read.
    """
    entries = LayoutDirectory(layout).read_index().entries
    if image is not None:
        found = [entry for entry in entries if _is_called(entry, image)]
    else:
        found = [entry for entry in entries if entry.tag is not None and entry.tag == reference.tag_name]
        found = found or list(entries)
    if len({entry.target.digest for entry in found}) == 1:
        return found[0]
    listed = [(*entry.names, str(entry.target.digest))[0] for entry in entries]
    there = ", ".join(listed[:MAX_LISTED]) + (" ..." if len(listed) > MAX_LISTED else "") or "none"
    raise ConfigError(f"--image: name the one image of {layout} to push; there are: {there}")


def _is_called(entry: NamedEntry, image: str) -> bool:
    if image in {*entry.names, str(entry.target.digest)}:
        return True
    try:
        return entry.tag is not None and entry.tag == Reference.parse(image).tag_name
    except InvalidReferenceError:
        return False


def mount_candidates(layout: Path, entry: NamedEntry, reference: Reference) -> list[str]:
    """Return the repositories of the same registry from which the image may have come."""
    entries = LayoutDirectory(layout).read_index().entries
    tags = [other.tag for other in entries if other.target.digest == entry.target.digest]
    found = [
        tag.repository
        for tag in tags
        if tag is not None and tag.registry == reference.registry and tag.repository != reference.repository
    ]
    return list(dict.fromkeys(found))
