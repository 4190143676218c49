"""The image of the demo: real tar layers with random content, put into a layout at once."""

from __future__ import annotations

import io
import json
import random
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.media_type import OCI_CONFIG, OCI_MANIFEST
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.writer import LayoutWriter

LAYER_PARTS = (8, 4, 5, 2, 1, 4)
"""How the size is divided among the layers: a base, some dependencies, the application."""

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"

_WRITE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DemoImage:
    """What was made."""

    name: TagName
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that the manifest names."""
        return (self.config, *self.layers)

    @property
    def everything(self) -> tuple[Descriptor, ...]:
        """The manifest and what it names."""
        return (self.manifest, *self.blobs)

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(blob.size for blob in self.everything)


async def make_image(root: Path, name: TagName, size: int, rng: random.Random) -> DemoImage:
    """Make an image of about `size` bytes and put it into a new layout at `root`."""
    writer = LayoutWriter(root, time.time)
    await writer.create()
    layers = [
        await _put(
            writer,
            OCI_LAYER,
            await trio.to_thread.run_sync(_layer, rng, number, size * part // sum(LAYER_PARTS)),
        )
        for number, part in enumerate(LAYER_PARTS, start=1)
    ]
    config = await _put_json(
        writer,
        OCI_CONFIG,
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
        },
    )
    manifest = await _put_json(
        writer,
        OCI_MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _described(config),
            "layers": [_described(layer) for layer in layers],
        },
    )
    await writer.tag(name, manifest)
    return DemoImage(name, manifest, config, tuple(layers))


async def wrong_blobs(layout: Path, blobs: Sequence[Descriptor]) -> list[str]:
    """Hash every blob of a layout on disk, and return what is missing or is not what its name says."""
    return [
        str(blob.digest)
        for blob in blobs
        if not await trio.to_thread.run_sync(partial(_is_right, layout, blob.digest))
    ]


def _is_right(layout: Path, digest: Digest) -> bool:
    hasher = digest.hasher()
    try:
        with (layout / "blobs" / digest.algorithm / digest.hex).open("rb") as file:
            while data := file.read(_WRITE_BYTES):
                hasher.update(data)
    except FileNotFoundError:
        return False
    return hasher.hexdigest() == digest.hex


def _layer(rng: random.Random, number: int, size: int) -> bytes:
    # Random bytes, as compressed layers look: nothing on the way can make them smaller.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(f"demo/layer-{number}")
        entry.size = size
        archive.addfile(entry, _RandomFile(rng, size))
    return buffer.getvalue()


class _RandomFile(io.RawIOBase):
    """A file of random bytes, made as it is read."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self._rng = rng
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        self._left -= count
        return self._rng.randbytes(count)


async def _put_json(writer: LayoutWriter, media_type: str, document: dict[str, object]) -> Descriptor:
    return await _put(writer, media_type, json.dumps(document, indent=2).encode())


async def _put(writer: LayoutWriter, media_type: str, content: bytes) -> Descriptor:
    digest = await trio.to_thread.run_sync(Digest.of, content)
    ingest = await writer.open_ingest(f"demo-{digest}", digest, len(content))
    if ingest is not None:
        for start in range(0, len(content), _WRITE_BYTES):
            await ingest.write(memoryview(content)[start : start + _WRITE_BYTES])
        await ingest.commit()
    return Descriptor(digest, len(content), media_type)


def _described(blob: Descriptor) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size}
