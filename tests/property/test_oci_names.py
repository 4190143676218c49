from __future__ import annotations

import string
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError, UnknownEndpointError
from spegel_gossip.oci.reference import Reference, TagName
from spegel_gossip.oci.request import (
    ApiRequest,
    BlobRequest,
    DistributionRequest,
    ManifestRequest,
    parse_request_untrusted,
)

hex_digits = st.sampled_from("0123456789abcdef")
digests = st.one_of(
    st.text(hex_digits, min_size=64, max_size=64).map(lambda text: Digest("sha256", text)),
    st.text(hex_digits, min_size=128, max_size=128).map(lambda text: Digest("sha512", text)),
)
components = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
repositories = st.lists(components, min_size=1, max_size=4).map("/".join)
tags = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=40).filter(
    lambda text: text[0] not in ".-"
)
registries = st.sampled_from(
    ["docker.io", "ghcr.io", "localhost:5000", "registry.lan", "[::1]:5000", "10.0.0.1"]
)
tag_names = st.builds(TagName, registries, repositories, tags)

# Texts near the grammar reach further than random ones.
near_paths = st.lists(
    st.one_of(
        st.sampled_from(
            ["/v2/", "/", "manifests", "blobs", "sha256:", ":", "@", "..", "%", "a", "A", "\n", "\0", "é"]
        ),
        components,
        digests.map(str),
        st.text(max_size=5),
    ),
    max_size=10,
).map("".join)


@given(digests)
def test_a_digest_survives_its_text(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_only_the_same_bytes_match_a_digest(data: bytes, other: bytes) -> None:
    assert Digest.of(data).matches(other) == (data == other)


@given(tag_names)
def test_a_tag_name_survives_its_text(name: TagName) -> None:
    assert TagName.parse(str(name)) == name


@given(tag_names, st.none() | digests)
def test_a_reference_survives_its_text(name: TagName, digest: Digest | None) -> None:
    text = str(name) if digest is None else f"{name}@{digest}"
    reference = Reference.parse(text)

    assert Reference.parse(str(reference)) == reference
    assert reference.digest == digest
    if "/" in name.repository:
        assert reference.tag_name == name


@given(near_paths | st.text())
def test_a_name_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    for parse in (Reference.parse, TagName.parse):
        try:
            parsed = parse(text)
        except InvalidReferenceError:
            continue
        assert str(parsed) == str(parse(str(parsed)))


@given(registries, repositories, tags, digests)
def test_every_well_formed_request_is_understood(
    registry: str, repository: str, tag: str, digest: Digest
) -> None:
    def parse(path: str) -> DistributionRequest:
        return parse_request_untrusted(path, registry, default_registry="docker.io")

    name = TagName(registry, repository, tag)
    assert parse(f"/v2/{repository}/manifests/{tag}") == ManifestRequest(registry, repository, name)
    assert parse(f"/v2/{repository}/manifests/{digest}") == ManifestRequest(registry, repository, digest)
    assert parse(f"/v2/{repository}/blobs/{digest}") == BlobRequest(registry, repository, digest)


@given(near_paths | st.text(), st.none() | registries | st.text())
def test_a_request_is_parsed_or_refused_and_nothing_else(path: str, ns: str | None) -> None:
    try:
        request = parse_request_untrusted(path, ns, default_registry="docker.io")
    except (UnknownEndpointError, InvalidReferenceError, InvalidDigestError):
        return
    assert isinstance(request, get_args(DistributionRequest))
    if not isinstance(request, ApiRequest):
        # What was accepted can be a path of a file system and the value of a header.
        assert ".." not in request.repository.split("/")
        assert f"{request.registry}/{request.repository}".isascii()
        assert f"{request.registry}/{request.repository}".isprintable()
