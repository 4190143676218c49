import json
from typing import Any

import pytest

from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import Manifest, parse_manifest_untrusted
from spegel_gossip.oci.wholeness import MAX_DEPTH, Wholeness, wholeness


class Shelf:
    """Blobs by digest, and documents put together from them."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def blob(self, data: bytes, media_type: str = types.OCTET_STREAM, **more: object) -> dict[str, Any]:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": str(digest), "size": len(data), **more}

    def image(self, name: str, layers: int = 2) -> dict[str, Any]:
        config = self.blob(f"{name} config".encode(), types.OCI_CONFIG)
        document = {
            "mediaType": types.OCI_MANIFEST,
            "config": config,
            "layers": [self.blob(f"{name} {n}".encode()) for n in range(layers)],
        }
        return self.blob(json.dumps(document).encode(), types.OCI_MANIFEST)

    def index(self, *entries: dict[str, Any]) -> dict[str, Any]:
        document = {"mediaType": types.OCI_INDEX, "manifests": entries}
        return self.blob(json.dumps(document).encode(), types.OCI_INDEX)

    def manifest(self, digest: Digest) -> Manifest:
        return parse_manifest_untrusted(self.blobs[digest])

    def judge(self, descriptor: dict[str, Any]) -> Wholeness:
        return wholeness(
            Digest.parse(descriptor["digest"]),
            is_held=self.blobs.__contains__,
            manifest=self.manifest,
        )


def test_an_image_is_whole_while_manifest_config_and_all_layers_are_here() -> None:
    shelf = Shelf()
    image = shelf.image("amd64")

    assert shelf.judge(image).is_whole
    for digest in list(shelf.blobs):
        data = shelf.blobs.pop(digest)
        assert not shelf.judge(image).is_whole
        shelf.blobs[digest] = data


def test_an_index_is_whole_if_one_platform_is() -> None:
    shelf = Shelf()
    index = shelf.index(shelf.image("amd64"), shelf.image("arm64"))
    del shelf.blobs[Digest.of(b"arm64 0")]

    assert shelf.judge(index).is_whole
    del shelf.blobs[Digest.of(b"amd64 1")]
    assert not shelf.judge(index).is_whole


def test_an_attestation_alone_does_not_make_an_index_whole() -> None:
    shelf = Shelf()
    amd64 = shelf.image("amd64")
    sbom = shelf.image("sbom")
    sbom["platform"] = {"os": "unknown", "architecture": "unknown"}
    index = shelf.index(amd64, sbom)
    del shelf.blobs[Digest.of(b"amd64 0")]

    assert not shelf.judge(index).is_whole


def test_an_index_that_names_blobs_needs_all_of_them() -> None:
    shelf = Shelf()
    index = shelf.index(shelf.blob(b"cache one"), shelf.blob(b"cache two"))

    assert shelf.judge(index).is_whole
    del shelf.blobs[Digest.of(b"cache two")]
    assert not shelf.judge(index).is_whole


def test_everything_that_decided_is_remembered_absent_or_not() -> None:
    shelf = Shelf()
    image = shelf.image("amd64")
    everything = set(shelf.blobs)
    del shelf.blobs[Digest.of(b"amd64 0")]

    assert set(shelf.judge(image).looked_at) == everything


def test_an_absent_root_is_not_whole_and_worth_another_look() -> None:
    root = Digest.of(b"absent")

    assert Shelf().judge({"digest": str(root)}) == Wholeness(is_whole=False, looked_at=(root,))


def test_a_bad_manifest_spoils_its_own_branch_only() -> None:
    shelf = Shelf()
    bad = shelf.blob(b"not a manifest", types.OCI_MANIFEST)

    assert shelf.judge(shelf.index(bad, shelf.image("amd64"))).is_whole
    assert not shelf.judge(shelf.index(bad)).is_whole
    with pytest.raises(InvalidManifestError):
        shelf.judge(bad)


def test_indexes_are_followed_only_so_deep() -> None:
    shelf = Shelf()
    entry = shelf.image("amd64")
    for _ in range(MAX_DEPTH):
        entry = shelf.index(entry)

    assert shelf.judge(entry).is_whole
    assert not shelf.judge(shelf.index(entry)).is_whole
