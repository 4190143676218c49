from dataclasses import dataclass, field
from zlib import crc32

import pytest
import trio

from lab import images
from shell.stores.conformance import StoreConformance, Witness, content_of, root_of
from spegel_gossip.content import Availability
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.testing.memory_store import MemoryIngest, MemoryStore


@dataclass
class MemoryIngestInHand:
    ingest: MemoryIngest

    async def write(self, data: bytes) -> None:
        self.ingest.write(data)

    async def commit(self) -> None:
        self.ingest.commit()

    async def abort(self) -> None:
        self.ingest.abort()

    async def keep(self) -> None:
        self.ingest.keep()


@dataclass
class MemoryBench:
    store: MemoryStore
    seed: int
    witness: Witness = field(default_factory=Witness)

    async def put_image(self, artifact: images.Artifact, name: TagName) -> None:
        for blob in (*artifact.blobs, *artifact.manifests):
            await self.put_blob(content_of(blob))
        root = artifact.root
        self.store.tag(name, Descriptor(root_of(artifact), root.size, root.media_type))

    async def remove_image(self, name: TagName) -> None:
        self.store.untag(name)

    async def put_blob(self, data: bytes) -> None:
        self.store.add_blob(data)

    async def remove_blob(self, digest: Digest) -> None:
        self.store.remove_blob(digest)

    async def begin_ingest(self, digest: Digest, total: int) -> MemoryIngestInHand:
        return MemoryIngestInHand(self.store.begin_ingest(digest, total=total))

    async def lose(self) -> None:
        self.store.set_availability(Availability(is_connected=False, is_readable=True, reason="a test"))

    async def regain(self) -> None:
        self.store.set_availability(Availability(is_connected=True, is_readable=True))


@pytest.fixture(params=[True, False], ids=["descriptors", "no descriptors"])
async def bench(request: pytest.FixtureRequest, nursery: trio.Nursery) -> MemoryBench:
    bench = MemoryBench(MemoryStore(has_descriptors=request.param), crc32(request.node.name.encode()))
    nursery.start_soon(bench.store.run, bench.witness.emit)
    return bench


class TestMemoryStore(StoreConformance):
    """The store that the other parts are tested with."""
