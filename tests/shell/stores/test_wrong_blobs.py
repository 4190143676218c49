import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from shell.stores.conformance import Witness
from shell.stores.fake_containerd import FakeContainerd
from spegel_gossip.content import PartialRemoved
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.containerd import inspection
from spegel_gossip.stores.containerd.store import ContainerdStore

DATA = bytes(range(256)) * 40
DIGEST = Digest.of(DATA)
WRONG = DATA[:-1] + b"!"
PATIENCE = 10.0
REST = 0.2


class Table:
    def __init__(self, containerd: FakeContainerd, nursery: trio.Nursery) -> None:
        self.containerd = containerd
        self.wrong: list[Digest] = []
        self.witness = Witness()
        self.store = ContainerdStore(containerd.config(), on_wrong_blob=self.wrong.append)
        self._nursery = nursery

    async def follow(self) -> None:
        self._nursery.start_soon(self.store.run, self.witness.emit)
        await self.witness.until(lambda: self.store.availability().is_connected)

    async def until_seen(self, digest: Digest) -> None:
        await self.witness.until(lambda: digest in self.store.partials())

    async def until_thrown_away(self, digest: Digest, *, times: int = 1) -> None:
        await self.witness.until(lambda: self.witness.events.count(PartialRemoved(digest)) == times)

    async def until_told_of(self, digest: Digest) -> None:
        with trio.fail_after(PATIENCE):
            while digest not in self.wrong:  # noqa: ASYNC110 # a list tells nobody that it grew
                await trio.sleep(0.02)

    async def several_looks(self) -> None:
        await trio.sleep(REST * 4)


@pytest.fixture
async def table(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Table]:
    monkeypatch.setattr(inspection, "LOOK_INTERVAL", REST / 4)
    monkeypatch.setattr(inspection, "REST_TIMEOUT", REST)
    containerd = FakeContainerd(tmp_path)
    containerd.start()
    table = Table(containerd, nursery)
    await table.follow()
    yield table
    nursery.cancel_scope.cancel()
    containerd.stop()


async def test_a_whole_ingest_with_wrong_bytes_is_thrown_away_and_told(table: Table) -> None:
    ingest = table.containerd.add_ingest(DIGEST, WRONG)

    await table.until_thrown_away(DIGEST)

    assert table.wrong == [DIGEST]
    assert not ingest.exists()
    assert DIGEST not in table.store.partials()


async def test_a_blob_whose_commit_is_slow_is_left_alone(table: Table) -> None:
    ingest = table.containerd.add_ingest(DIGEST, DATA)

    await table.several_looks()

    assert ingest.exists()
    assert (table.wrong, table.containerd.aborts) == ([], 0)


@pytest.mark.parametrize("total", [len(WRONG) + 1, 0])
async def test_what_is_still_arriving_is_nobodys_business(total: int, table: Table) -> None:
    ingest = table.containerd.add_ingest(DIGEST, WRONG, total=total)

    await table.several_looks()

    assert ingest.exists()
    assert table.wrong == []


async def test_an_abort_that_fails_is_tried_again_and_told_once(table: Table) -> None:
    table.containerd.refuses_aborts = True
    table.containerd.add_ingest(DIGEST, WRONG)
    with trio.fail_after(PATIENCE):
        while table.containerd.aborts < 3:  # noqa: ASYNC110 # a thread of grpc's counts them
            await trio.sleep(0.02)
    table.containerd.refuses_aborts = False

    await table.until_thrown_away(DIGEST)

    assert table.wrong == [DIGEST]


async def test_only_the_wrong_one_of_several_goes(table: Table) -> None:
    good = table.containerd.add_ingest(DIGEST, DATA)
    table.containerd.add_ingest(Digest.of(b"other"), b"rehto")

    await table.until_thrown_away(Digest.of(b"other"))
    await table.several_looks()

    assert good.exists()
    assert table.containerd.aborts == 1


async def test_the_same_blob_wrong_a_second_time_is_told_a_second_time(table: Table) -> None:
    table.containerd.add_ingest(DIGEST, WRONG)
    await table.until_thrown_away(DIGEST)

    table.containerd.add_ingest(DIGEST, WRONG)
    await table.until_thrown_away(DIGEST, times=2)

    assert table.wrong == [DIGEST, DIGEST]


@pytest.mark.parametrize(
    ("data", "total", "is_wrong"),
    [(WRONG, len(WRONG), True), (DATA, len(DATA), False), (DATA[:100], len(DATA), False), (WRONG, 0, False)],
)
async def test_what_went_with_its_client_is_judged_by_its_bytes(
    data: bytes, total: int, is_wrong: bool, table: Table
) -> None:
    # ctr and the kubelet hold a lease while they pull; with it goes what could not be committed.
    ingest = table.containerd.add_ingest(DIGEST, data, total=total)
    await table.until_seen(DIGEST)
    shutil.rmtree(ingest)
    marker = table.containerd.add_ingest(Digest.of(b"other"), b"rehto")
    await table.until_seen(Digest.of(b"other"))
    shutil.rmtree(marker)

    await table.until_told_of(Digest.of(b"other"))

    assert table.wrong == ([DIGEST] if is_wrong else []) + [Digest.of(b"other")]
    assert table.containerd.aborts == 0


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_descriptor_is_left_open(table: Table) -> None:
    before = open_descriptors()
    for number in range(20):
        data = bytes([number]) * 100
        ingest = table.containerd.add_ingest(Digest.of(data), data)
        await table.until_seen(Digest.of(data))
        shutil.rmtree(ingest)
        await table.until_thrown_away(Digest.of(data))

    await table.several_looks()

    assert open_descriptors() <= before + 2
