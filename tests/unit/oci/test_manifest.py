import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import (
    MAX_DESCRIPTORS,
    MAX_MANIFEST_BYTES,
    ManifestKind,
    Platform,
    parse_manifest_untrusted,
)


def descriptor(content: str, media_type: str = "application/x", **more: object) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": str(Digest.of(content.encode())),
        "size": len(content),
        **more,
    }


def image(**more: object) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": descriptor("config", types.OCI_CONFIG),
        "layers": [descriptor("one"), descriptor("two")],
        **more,
    }


def index(*entries: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": list(entries), **more}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def test_an_image_names_its_config_and_then_its_layers() -> None:
    manifest = parse_manifest_untrusted(encode(image()))

    assert manifest.kind is ManifestKind.IMAGE
    assert [child.digest for child in manifest.children] == [
        Digest.of(b"config"),
        Digest.of(b"one"),
        Digest.of(b"two"),
    ]


@pytest.mark.parametrize(
    ("manifest_type", "config_type"),
    [(types.OCI_MANIFEST, types.OCI_CONFIG), (types.DOCKER_MANIFEST, types.DOCKER_CONFIG)],
)
def test_docker_and_oci_images_are_both_images(manifest_type: str, config_type: str) -> None:
    manifest = parse_manifest_untrusted(
        encode(image(mediaType=manifest_type, config=descriptor("config", config_type)))
    )

    assert (manifest.kind, manifest.media_type) == (ManifestKind.IMAGE, manifest_type)


@pytest.mark.parametrize("index_type", [types.OCI_INDEX, types.DOCKER_LIST])
def test_an_index_names_a_manifest_for_each_platform(index_type: str) -> None:
    arm = {"os": "linux", "architecture": "arm64", "variant": "v8"}

    manifest = parse_manifest_untrusted(
        encode(index(descriptor("arm", platform=arm), descriptor("any"), mediaType=index_type))
    )

    assert manifest.kind is ManifestKind.INDEX
    assert [entry.platform for entry in manifest.manifests] == [Platform("linux", "arm64", "v8"), None]
    assert str(manifest.manifests[0].platform) == "linux/arm64/v8"


@pytest.mark.parametrize(
    "marks",
    [
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ],
)
def test_buildkit_attestations_are_told_from_platforms(marks: dict[str, Any]) -> None:
    manifest = parse_manifest_untrusted(encode(index(descriptor("sbom", **marks))))

    assert manifest.manifests[0].is_attestation


@pytest.mark.parametrize(
    "document",
    [
        image(config=descriptor("chart", "application/vnd.cncf.helm.config.v1+json")),
        image(artifactType="application/vnd.example"),
        image(config=descriptor("{}", "application/vnd.oci.empty.v1+json"), subject=descriptor("image")),
    ],
    ids=["helm", "artifact type", "signature"],
)
def test_a_manifest_without_an_image_config_is_an_artifact(document: dict[str, Any]) -> None:
    assert parse_manifest_untrusted(encode(document)).kind is ManifestKind.ARTIFACT


def test_a_subject_is_not_a_part_of_the_manifest_that_names_it() -> None:
    manifest = parse_manifest_untrusted(encode(image(subject=descriptor("subject"))))

    assert manifest.subject is not None
    assert manifest.subject not in manifest.children


def test_the_former_artifact_manifest_names_blobs() -> None:
    manifest = parse_manifest_untrusted(
        encode({"mediaType": types.OCI_ARTIFACT, "blobs": [descriptor("blob")]})
    )

    assert manifest.kind is ManifestKind.ARTIFACT
    assert [child.digest for child in manifest.children] == [Digest.of(b"blob")]


def test_a_missing_media_type_is_taken_from_the_descriptor_and_then_from_the_shape() -> None:
    nameless = image()
    del nameless["mediaType"]
    nameless_index = index(descriptor("image"))
    del nameless_index["mediaType"]

    assert (
        parse_manifest_untrusted(encode(nameless), types.DOCKER_MANIFEST).media_type == types.DOCKER_MANIFEST
    )
    assert parse_manifest_untrusted(encode(nameless), "text/html").media_type == types.OCI_MANIFEST
    assert parse_manifest_untrusted(encode(nameless_index)).media_type == types.OCI_INDEX


def test_layers_written_as_null_are_none() -> None:
    assert parse_manifest_untrusted(encode(image(layers=None))).layers == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        encode({"schemaVersion": 1, "fsLayers": []}),
        encode(image(manifests=[])),
        encode(index(config=descriptor("config"))),
        encode(image(config=None)),
        encode(image(layers={})),
        encode(image(layers=[1])),
        encode(image(layers=[{"digest": "sha256:../..", "size": 1}])),
        encode(image(layers=[{"digest": str(Digest.of(b"")), "size": -1}])),
        encode(image(layers=[{"digest": str(Digest.of(b"")), "size": True}])),
        encode(image(layers=[{"digest": str(Digest.of(b"")), "size": 2**63}])),
        encode(image(mediaType="application/json")),
        encode(image(mediaType=5)),
        encode(image(artifactType=["x"])),
        encode(index(descriptor("x", platform="linux"))),
        encode(image(layers=[descriptor("x")] * (MAX_DESCRIPTORS + 1))),
        b" " * (MAX_MANIFEST_BYTES + 1),
        b'{"schemaVersion": ' + b"9" * 5000 + b"}",
    ],
    ids=range(22),
)
def test_what_is_not_a_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidManifestError):
        parse_manifest_untrusted(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(str(Digest.of(b""))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "digest", "size", "config", "layers", "manifests", "platform", "os"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_document_raises_anything_but_invalid_manifest(value: object) -> None:
    for document in (
        value,
        image(config=value),
        image(layers=[value]),
        index(descriptor("x", platform=value)),
    ):
        with contextlib.suppress(InvalidManifestError):
            parse_manifest_untrusted(encode(document))


@given(st.data())
def test_no_damage_to_a_real_manifest_raises_anything_but_invalid_manifest(data: st.DataObject) -> None:
    good = bytearray(encode(image()))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidManifestError):
        parse_manifest_untrusted(bytes(good))
