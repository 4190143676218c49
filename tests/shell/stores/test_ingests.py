from pathlib import Path

import pytest

from spegel_gossip.content import (
    Availability,
    ContentNotFoundError,
    ContentStoreUnavailableError,
    PartialStatus,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.files.content_root import ContentRoot
from spegel_gossip.stores.files.ingests import Ingests
from spegel_gossip.stores.inventory import Inventory

DIGEST = Digest.of(b"the bytes of a layer")


class CountingRoot(ContentRoot):
    """Knows which ingests were looked at."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.looked_at: list[str] = []

    def ingest_data(self, ingest_id: str) -> Path:
        self.looked_at.append(ingest_id)
        return super().ingest_data(ingest_id)

    def ingest_ref(self, ingest_id: str) -> str | None:
        self.looked_at.append(ingest_id)
        return super().ingest_ref(ingest_id)


@pytest.fixture
def root(tmp_path: Path) -> CountingRoot:
    (tmp_path / "ingest").mkdir()
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    return CountingRoot(tmp_path)


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(Availability(is_connected=True, is_readable=True))


@pytest.fixture
def ingests(inventory: Inventory) -> Ingests:
    return Ingests("k8s.io/", inventory, on_commit=lambda _digest: None)


def begin(root: ContentRoot, name: str, ref: str) -> Path:
    directory = root.ingests / name
    directory.mkdir()
    (directory / "ref").write_text(ref)
    (directory / "total").write_text("20")
    (directory / "data").write_bytes(b"12345")
    return directory


async def test_a_miss_looks_at_none_of_the_ingests_that_were_left_behind(
    root: CountingRoot, ingests: Ingests
) -> None:
    for number in range(20):
        begin(root, f"old-{number}", f"k8s.io/1/layer-{Digest.of(bytes([number]))}")
        begin(root, f"foreign-{number}", f"elsewhere/1/layer-{DIGEST}")
    ingests.scan(root)
    root.looked_at.clear()

    with pytest.raises(ContentNotFoundError):
        ingests.open(root, DIGEST)
    assert root.looked_at == []

    begin(root, "new", f"k8s.io/1/layer-{DIGEST}")
    growing = ingests.open(root, DIGEST)
    assert growing.poll() == PartialStatus(5, 20)
    assert set(root.looked_at) == {"new"}
    await growing.aclose()


async def test_an_id_that_comes_again_with_another_ref_is_looked_at_again(
    root: CountingRoot, ingests: Ingests
) -> None:
    directory = begin(root, "one", f"elsewhere/1/layer-{DIGEST}")
    ingests.scan(root)
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    ingests.scan(root)
    begin(root, "one", f"k8s.io/1/layer-{DIGEST}")

    await ingests.open(root, DIGEST).aclose()


async def test_an_ingest_that_cannot_be_read_hides_no_other(
    root: CountingRoot, inventory: Inventory, ingests: Ingests
) -> None:
    (root.ingests / "broken" / "ref").mkdir(parents=True)
    begin(root, "one", f"k8s.io/1/layer-{DIGEST}")

    await ingests.open(root, DIGEST).aclose()
    ingests.scan(root)

    assert inventory.partials == {DIGEST: PartialStatus(5, 20)}


def test_a_disk_that_cannot_be_listed_is_not_taken_for_a_miss(root: CountingRoot, ingests: Ingests) -> None:
    root.ingests.rmdir()
    root.ingests.symlink_to(root.ingests)

    with pytest.raises(ContentStoreUnavailableError):
        ingests.open(root, DIGEST)


async def test_a_total_that_was_written_after_the_first_look_is_known_to_whoever_opens_it(
    root: CountingRoot, ingests: Ingests, inventory: Inventory
) -> None:
    directory = begin(root, "one", f"k8s.io/1/layer-{DIGEST}")
    (directory / "total").unlink()
    ingests.scan(root)
    assert inventory.partials[DIGEST] == PartialStatus(5, 0)
    (directory / "total").write_text("20")
    growing = ingests.open(root, DIGEST)
    assert growing.poll() == PartialStatus(5, 20)
    await growing.aclose()


@pytest.mark.parametrize("total", ["9" * 20, "-1", "many", "\u0663"])
async def test_a_total_that_cannot_be_is_none(
    root: CountingRoot, ingests: Ingests, inventory: Inventory, total: str
) -> None:
    directory = begin(root, "one", f"k8s.io/1/layer-{DIGEST}")
    (directory / "total").write_text(total)
    ingests.scan(root)
    assert inventory.partials[DIGEST] == PartialStatus(5, 0)
