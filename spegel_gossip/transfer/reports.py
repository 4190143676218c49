"""What arrived here and from where: counted blob by blob, and told in one line an image."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
import trio

from spegel_gossip.content import BlobAdded, BlobRemoved, ContentEvent, TagChanged
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import Manifest, ManifestKind, parse_manifest_untrusted
from spegel_gossip.swarm.arrivals import Arrivals, Arrived, Origin
from spegel_gossip.transfer import metrics

log = structlog.get_logger(__name__)

MAX_IMAGES: Final = 256
"""Images whose last bytes are waited for; of the oldest beyond it no line is written."""

MAX_MANIFESTS: Final = 256
"""Manifests that were asked for, by whatever name."""

NAME_PATIENCE: Final = 5.0
"""Seconds that a whole image has no line, since its tag may follow; one pulled by digest never has one."""

WHOLE_PATIENCE: Final = 3_600.0
"""Seconds after its manifest for which an image may become whole and have a line of its own."""

LOOK_INTERVAL: Final = 1.0

_MEGA: Final = 1_000_000

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


Read = Callable[[Digest], Awaitable[bytes | None]]


async def _nothing(_digest: Digest) -> bytes | None:
    return None


def _never(_digest: Digest) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that is coming, or has come."""

    name: str
    parts: tuple[Digest, ...]
    layers: frozenset[Digest]


@dataclass(slots=True)
class _Unnamed:
    """An image whose manifest came, and no tag for it yet."""

    image: _Image
    give_up_at: float
    whole_since: float


class Reports:
    """Takes in what is asked for, what comes, and what is here then."""

    def __init__(self, read: Read = _nothing, is_held: Callable[[Digest], bool] = _never) -> None:
        """Start with nothing.

        Args:
            read: a manifest that is here; by default there are none
            is_held: whether a blob is here
        """
        self._read = read
        self._is_held = is_held
        self._arrivals = Arrivals()
        self._counted: Counter[Origin] = Counter()
        self._images: OrderedDict[str, _Image] = OrderedDict()
        self._manifests: OrderedDict[Digest, None] = OrderedDict()
        self._unnamed: OrderedDict[Digest, _Unnamed] = OrderedDict()
        self._wakeup = trio.Event()

    @property
    def arrivals(self) -> Arrivals:
        """What came; to be read."""
        return self._arrivals

    # -- what the fetcher says ----------------------------------------------------------------

    def asked(self, digest: Digest, *, is_manifest: bool = False) -> None:
        """The mirror was asked for a blob or a manifest that is not here."""
        self._arrivals.asked(digest, trio.current_time())
        if is_manifest:
            self._manifests[digest] = None
            _bound(self._manifests, MAX_MANIFESTS)

    def opened(self, digest: Digest) -> None:
        """Other nodes begin to send it."""
        self._arrivals.opened(digest)

    def received(self, digest: Digest, count: int, *, is_growing: bool) -> None:
        """A node sent bytes of it, from a copy that grows or from one that is whole."""
        self._arrivals.received(digest, count, Origin.PARTIAL if is_growing else Origin.COMPLETE)

    def given(self, digest: Digest, size: int) -> None:
        """A manifest was handed on, from a node or from memory."""
        self._arrivals.given(digest, size)

    def closed(self, digest: Digest) -> None:
        """They have ended."""
        self._arrivals.closed(digest)
        self._count()

    # -- what the store says ------------------------------------------------------------------

    async def on_content(self, event: ContentEvent) -> None:
        """Follow what is here."""
        match event:
            case BlobAdded(digest, size):
                self._arrivals.added(digest, size, trio.current_time())
                if digest in self._manifests:
                    await self._manifest_came(digest)
            case BlobRemoved(digest):
                self._arrivals.removed(digest)
            case TagChanged(name, target) if self._arrivals.has_news:
                image = await self._image(str(name), target.digest)
                self._images[image.name] = image
                _bound(self._images, MAX_IMAGES)
            case _:
                return
        self._count()

    async def run(self) -> None:
        """Write the lines of images without a tag, until cancelled."""
        while True:
            if not self._unnamed:
                # An idle node wakes for nothing.
                self._wakeup = trio.Event()
                await self._wakeup.wait()
            await trio.sleep(LOOK_INTERVAL)
            self._tell_unnamed(trio.current_time())

    async def _manifest_came(self, digest: Digest) -> None:
        del self._manifests[digest]
        manifest = await self._manifest(digest)
        if manifest is not None and manifest.kind is not ManifestKind.INDEX:
            image = await self._image(str(digest), digest)
            now = trio.current_time()
            self._unnamed[digest] = _Unnamed(image, give_up_at=now + WHOLE_PATIENCE, whole_since=now)
            _bound(self._unnamed, MAX_IMAGES)
            self._wakeup.set()

    def _tell_unnamed(self, now: float) -> None:
        for digest, unnamed in list(self._unnamed.items()):
            if not all(self._is_held(part) for part in unnamed.image.parts):
                unnamed.whole_since = now
                if now >= unnamed.give_up_at:
                    del self._unnamed[digest]
            elif now - unnamed.whole_since >= NAME_PATIENCE:
                # Nothing is left to tell where its tag came.
                self._tell(unnamed.image)
                del self._unnamed[digest]

    # -- helpers ------------------------------------------------------------------------------

    def _count(self) -> None:
        for origin, count in self._arrivals.totals.items():
            metrics.ARRIVED_BYTES.labels(origin.value).inc(count - self._counted[origin])
            self._counted[origin] = count
        for name in [name for name, image in self._images.items() if self._tell(image)]:
            del self._images[name]

    def _tell(self, image: _Image) -> bool:
        """Write the line of an image if everything has come; return whether nothing is left to wait for."""
        arrived = self._arrivals.take(image.parts)
        if arrived is None:
            return not self._arrivals.is_coming(image.parts)
        layers = len(image.layers.intersection(arrived.digests))
        log.info(line(arrived, layers), image=image.name, **_fields(arrived, layers))
        return True

    async def _image(self, name: str, root: Digest) -> _Image:
        """Look an image through; of an index, the images that are here."""
        parts: dict[Digest, None] = {root: None}
        layers: dict[Digest, None] = {}
        top = await self._manifest(root)
        found = [] if top is None else [top]
        if top is not None and top.kind is ManifestKind.INDEX:
            for child in [one.digest for one in top.children if self._is_held(one.digest)]:
                parts[child] = None
                below = await self._manifest(child)
                found += [] if below is None else [below]
        for manifest in found:
            if manifest.kind is not ManifestKind.INDEX:
                parts |= dict.fromkeys(one.digest for one in manifest.children)
                layers |= dict.fromkeys(one.digest for one in manifest.layers)
        return _Image(name, tuple(parts), frozenset(layers))

    async def _manifest(self, digest: Digest) -> Manifest | None:
        content = await self._read(digest)
        try:
            return None if content is None else parse_manifest_untrusted(content)
        except InvalidManifestError:
            return None


def line(arrived: Arrived, layers: int) -> str:
    """Return what an operator reads of an image that has come."""
    upstream = arrived.by_origin[Origin.UPSTREAM]
    return (
        f"image pulled: {layers} {'layer' if layers == 1 else 'layers'}, {_megabytes(arrived.bytes)} MB: "
        f"upstream {_megabytes(upstream)}, peers {_megabytes(arrived.from_peers)}, "
        f"{arrived.ended_at - arrived.begun_at:.1f} s"
    )


def _fields(arrived: Arrived, layers: int) -> dict[str, object]:
    return {
        "layers": layers,
        "bytes": arrived.bytes,
        **{origin.value: count for origin, count in arrived.by_origin.items()},
        "seconds": round(arrived.ended_at - arrived.begun_at, 3),
    }


def _megabytes(count: int) -> str:
    return f"{count / _MEGA:.1f}"


def _bound(table: OrderedDict[_Key, _Value], limit: int) -> None:
    while len(table) > limit:
        table.popitem(last=False)
