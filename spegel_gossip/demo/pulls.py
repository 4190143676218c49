"""One pull from its first word to its result, drawn into the picture while it goes on."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from spegel_gossip.demo.cluster import Cluster, StartLine
from spegel_gossip.demo.errors import DemoError
from spegel_gossip.demo.picture import PEERS, REGISTRY, NodePicture, by_number
from spegel_gossip.oci.reference import TagName

MAX_MANIFEST_SHOWN = 100_000
"""Bytes from the registry that are not worth a word: the manifest has some 1,500."""


class PullFailedError(DemoError):
    """A pull did not get the image."""


@dataclass(slots=True)
class PullResult:
    """What a pull that succeeded did."""

    name: str
    by_source: dict[str, int] = field(default_factory=dict)
    """Bytes by the registry or the node that sent them."""

    seconds: float = 0.0
    first_byte: float = 0.0
    """Seconds from its start until the first byte of a layer was here."""

    @property
    def from_registry(self) -> int:
        """Bytes that the registry sent."""
        return self.by_source.get(REGISTRY, 0)

    @property
    def from_peers(self) -> int:
        """Bytes that other nodes sent."""
        return sum(self.by_source.values()) - self.from_registry

    @property
    def peers(self) -> list[str]:
        """The nodes that sent any, by name."""
        return by_number(source for source in self.by_source if source not in {REGISTRY, PEERS})

    @property
    def has_asked_registry(self) -> bool:
        """Whether the registry sent more than a manifest: by a tag, everybody asks it for one."""
        return self.from_registry > MAX_MANIFEST_SHOWN


async def pull(
    cluster: Cluster, name: str, image: TagName, shown: NodePicture, line: StartLine
) -> PullResult:
    """Pull an image into a node's layout, from the moment on when all at the line are ready.

    Raises:
        PullFailedError: it cannot be had.
    """
    result = PullResult(name)
    mirror = str(cluster.nodes[name].place.registry)
    shown.is_pulling = True
    try:
        async with aclosing(cluster.pull(name, image, line)) as events:
            async for event in events:
                _apply(event, shown, result, registry=image.registry, mirror=mirror)
    finally:
        shown.is_pulling = False
    return result


def _apply(
    event: dict[str, Any], shown: NodePicture, result: PullResult, *, registry: str, mirror: str
) -> None:
    match event["event"]:
        case "move":
            source = {registry: REGISTRY, mirror: PEERS}.get(event["source"], event["source"])
            result.by_source[source] = result.by_source.get(source, 0) + event["bytes"]
            blob = shown.blob(event["digest"])
            blob.here += event["bytes"]
            blob.by_source[source] = blob.by_source.get(source, 0) + event["bytes"]
        case "end":
            shown.blob(event["digest"]).is_whole = True
        case "done":
            result.seconds, result.first_byte = event["seconds"], event["first_byte"]
        case "failed":
            raise PullFailedError(f"{shown.name} cannot pull: {event['text']}")
        case _:
            return
