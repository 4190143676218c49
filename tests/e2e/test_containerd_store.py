from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from zlib import crc32

import pytest
import trio

from e2e.containerd_bench import ContainerdBench, config_of
from lab.cluster import Lab, missing_for_lab
from lab.containerd import ContainerdMissingError
from shell.stores.conformance import StoreConformance

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")


@pytest.fixture(scope="module")
def one_node(containerd_version: str) -> Iterator[Lab]:
    reason = missing_for_lab()
    if reason is not None:
        pytest.skip(reason)
    try:
        lab = Lab(nodes=1, containerd=containerd_version)
    except ContainerdMissingError as error:
        pytest.skip(str(error))
    with lab:
        yield lab


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest, one_node: Lab, tmp_path: Path, nursery: trio.Nursery
) -> AsyncIterator[ContainerdBench]:
    containerd = one_node.nodes[0].containerd
    containerd.begin_start()
    await trio.to_thread.run_sync(containerd.wait_ready)
    bench = ContainerdBench(containerd, crc32(request.node.name.encode()), tmp_path, config_of(containerd))
    # containerd collects 0.1 s after its start, unless it has collected by then; what a test
    # ingests without a lease must not be what it finds.
    await bench.collect()
    nursery.start_soon(bench.store.run, bench.witness.emit)
    await bench.witness.until(lambda: bench.store.availability().is_connected)
    yield bench
    bench.end()


class TestContainerdStore(StoreConformance):
    """containerd's content as a store, by the promises of the port."""
