"""A layout store that runs, and the writer that changes what it holds."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import images
from shell.stores.conformance import IngestInHand, Witness, content_of, root_of
from spegel_gossip.content import ContentStore
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.stores.layout.writer import LayoutIngest, LayoutWriter


def ref_of(digest: Digest) -> str:
    return f"layer-{digest}"


def blob_path(root: Path, digest: Digest) -> Path:
    return root / "blobs" / digest.algorithm / digest.hex


async def open_new(writer: LayoutWriter, digest: Digest, total: int) -> LayoutIngest:
    ingest = await writer.open_ingest(ref_of(digest), digest, total)
    assert ingest is not None
    return ingest


async def put(writer: LayoutWriter, data: bytes) -> Digest:
    digest = Digest.of(data)
    ingest = await writer.open_ingest(ref_of(digest), digest, len(data))
    if ingest is not None:
        await ingest.write(memoryview(data)[ingest.offset :])
        await ingest.commit()
    return digest


async def put_image(writer: LayoutWriter, artifact: images.Artifact, name: TagName) -> None:
    for blob in (*artifact.blobs, *artifact.manifests):
        await put(writer, content_of(blob))
    root = artifact.root
    await writer.tag(name, Descriptor(root_of(artifact), root.size, root.media_type))


@dataclass
class LayoutBench:
    root: Path
    seed: int
    store: ContentStore = field(init=False)
    witness: Witness = field(default_factory=Witness)

    def __post_init__(self) -> None:
        self.store = LayoutStore(LayoutConfig(root=self.root, look_interval=0.1, index_patience=0.1))
        self.writer = LayoutWriter(self.root, time.time)

    async def put_image(self, artifact: images.Artifact, name: TagName) -> None:
        await put_image(self.writer, artifact, name)

    async def remove_image(self, name: TagName) -> None:
        await self.writer.untag(name)

    async def put_blob(self, data: bytes) -> None:
        await put(self.writer, data)

    async def remove_blob(self, digest: Digest) -> None:
        blob_path(self.root, digest).unlink()

    async def begin_ingest(self, digest: Digest, total: int) -> IngestInHand:
        return await open_new(self.writer, digest, total)

    async def lose(self) -> None:
        index = self.root / "index.json"
        index.rename(self.root / "index.json.lost")
        index.write_text('{"schemaVersion": 2, "manif')

    async def regain(self) -> None:
        (self.root / "index.json.lost").replace(self.root / "index.json")
