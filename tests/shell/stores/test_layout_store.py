from pathlib import Path
from zlib import crc32

import pytest
import trio

from shell.stores.conformance import StoreConformance
from shell.stores.layout_bench import LayoutBench


@pytest.fixture
async def bench(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> LayoutBench:
    bench = LayoutBench(tmp_path / "layout", crc32(request.node.name.encode()))
    await bench.writer.create()
    nursery.start_soon(bench.store.run, bench.witness.emit)
    await bench.witness.until(lambda: bench.store.availability().is_connected)
    return bench


class TestLayoutStore(StoreConformance):
    """An image layout, written by our own writer."""
