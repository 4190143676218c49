import random
import tarfile
from pathlib import Path

from spegel_gossip.demo.image import LAYER_PARTS, DemoImage, make_image, wrong_blobs
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.store import LayoutStore

NAME = TagName.parse("127.29.1.7:29500/demo/app:v1")
SIZE = 600_000


async def make(root: Path, seed: int = 1) -> DemoImage:
    return await make_image(root, NAME, SIZE, random.Random(seed))


def path_of(root: Path, blob: Descriptor) -> Path:
    return root / "blobs" / blob.digest.algorithm / blob.digest.hex


async def test_it_is_a_tagged_image_of_real_layers_of_about_the_size(tmp_path: Path) -> None:
    root = tmp_path / "layout"

    image = await make(root)

    store = LayoutStore(LayoutConfig(root=root))
    assert [await store.size(blob.digest) for blob in image.everything] == [b.size for b in image.everything]
    (entry,) = LayoutDirectory(root).read_index().entries
    assert (entry.tag, entry.target.digest) == (NAME, image.manifest.digest)
    assert len(image.layers) == len(LAYER_PARTS)
    assert SIZE < image.size < SIZE * 1.2
    with tarfile.open(path_of(root, image.layers[0])) as archive:
        assert archive.getnames() == ["demo/layer-1"]


async def test_the_seed_decides_the_content(tmp_path: Path) -> None:
    first, same, other = [await make(tmp_path / str(number), number // 2) for number in range(3)]

    assert first == same
    assert not {layer.digest for layer in first.layers} & {layer.digest for layer in other.layers}


async def test_a_missing_and_a_wrong_blob_are_found_on_disk(tmp_path: Path) -> None:
    image = await make(tmp_path / "layout")
    assert await wrong_blobs(tmp_path / "layout", image.everything) == []

    path_of(tmp_path / "layout", image.layers[1]).unlink()
    damaged = path_of(tmp_path / "layout", image.layers[2])
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")

    found = await wrong_blobs(tmp_path / "layout", image.everything)
    assert found == [str(layer.digest) for layer in image.layers[1:3]]
