import gzip
import hashlib
import io
import json
import tarfile

import pytest

from lab import images


def content(blob: images.Blob) -> bytes:
    return b"".join(blob.chunks())


def test_the_same_seed_gives_the_same_image() -> None:
    assert images.image(7, [0, 4 * images.MIB]).digests == images.image(7, [0, 4 * images.MIB]).digests


def test_another_seed_shares_no_blob() -> None:
    assert images.image(7, [0, 20_000]).digests.isdisjoint(images.image(8, [0, 20_000]).digests)


@pytest.mark.parametrize("size", [20_000, images.MIB, 3 * images.MIB + 5])
def test_a_layer_has_exactly_the_size_asked_for_and_opens_as_tar(size: int) -> None:
    blob = images.image(1, [size]).blobs[1]
    whole = content(blob)
    assert len(whole) == blob.size == size
    assert blob.digest == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert len(archive.getnames()) == 1


def test_a_compressed_layer_has_the_diff_id_that_the_config_names() -> None:
    image = images.image(1, [5_000], compressed=True)
    config, layer = image.blobs
    unpacked = gzip.decompress(content(layer))
    diff_id = f"sha256:{hashlib.sha256(unpacked).hexdigest()}"
    assert json.loads(content(config))["rootfs"]["diff_ids"] == [diff_id]


def test_no_two_mebibytes_of_a_large_layer_are_alike() -> None:
    pieces = list(images.image(1, [8 * images.MIB]).blobs[1].chunks())
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize(
    "made",
    [images.image(1, [0, 0]), images.index(2), images.helm_chart(3), images.artifact(4)],
    ids=["image", "index", "chart", "artifact"],
)
def test_every_descriptor_in_an_artifact_names_one_of_its_blobs(made: images.Artifact) -> None:
    named = set()
    for manifest in made.manifests:
        document = json.loads(content(manifest))
        children = [*document.get("layers", []), *document.get("manifests", [])]
        named |= {child["digest"] for child in children}
        named |= {document["config"]["digest"]} if "config" in document else set()
    assert named == made.digests - {made.root.digest}


def test_a_signature_is_tagged_after_the_digest_it_signs() -> None:
    image = images.image(1)
    tag, signature = images.cosign_signature(image)
    assert tag == image.root.digest.replace("sha256:", "sha256-") + ".sig"
    assert image.root.digest in content(signature.blobs[1]).decode()
