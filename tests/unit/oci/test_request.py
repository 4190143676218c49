from __future__ import annotations

import pytest

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError, UnknownEndpointError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.request import (
    ApiRequest,
    BlobRequest,
    DistributionRequest,
    ManifestRequest,
    origin_path,
    parse_request_untrusted,
)

DIGEST = Digest.of(b"hello")
SHA512 = Digest("sha512", "ab" * 64)


def parse(path: str, ns: str | None = None) -> DistributionRequest:
    return parse_request_untrusted(path, ns, default_registry="docker.io")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://127.0.0.1:29500/v2/", "/v2/"),
        ("HTTPS://[::1]/v2/a/manifests/b://c", "/v2/a/manifests/b://c"),
        ("http://host", "/"),
        ("/v2/", "/v2/"),
        ("*", "*"),
        ("ftp://host/v2/", "ftp://host/v2/"),
        ("", ""),
    ],
)
def test_of_a_whole_url_the_path_counts(target: str, path: str) -> None:
    assert origin_path(target) == path


def test_the_root_of_the_api() -> None:
    assert parse("/v2/") == ApiRequest()


def test_a_manifest_by_tag() -> None:
    assert parse("/v2/library/nginx/manifests/1.27") == ManifestRequest(
        "docker.io", "library/nginx", TagName("docker.io", "library/nginx", "1.27")
    )


@pytest.mark.parametrize("digest", [DIGEST, SHA512])
def test_a_manifest_by_digest(digest: Digest) -> None:
    assert parse(f"/v2/library/nginx/manifests/{digest}") == ManifestRequest(
        "docker.io", "library/nginx", digest
    )


@pytest.mark.parametrize("digest", [DIGEST, SHA512])
def test_a_blob(digest: Digest) -> None:
    assert parse(f"/v2/a/b/c/blobs/{digest}", "ghcr.io") == BlobRequest("ghcr.io", "a/b/c", digest)


@pytest.mark.parametrize(
    "ns", ["docker.io", "registry-1.docker.io", "index.docker.io", "Docker.IO", "", None]
)
def test_docker_hub_is_one_registry_and_the_default(ns: str | None) -> None:
    assert parse("/v2/library/nginx/manifests/1", ns) == parse("/v2/library/nginx/manifests/1")


def test_ns_may_have_a_port() -> None:
    assert parse("/v2/x/manifests/y", "localhost:5000") == ManifestRequest(
        "localhost:5000", "x", TagName("localhost:5000", "x", "y")
    )
    assert parse("/v2/x/manifests/y", "[::1]:5000") == ManifestRequest(
        "[::1]:5000", "x", TagName("[::1]:5000", "x", "y")
    )


@pytest.mark.parametrize(
    "name", ["manifests", "blobs", "a/manifests/b", "a/blobs/b", "v2", "manifests/manifests"]
)
def test_a_repository_may_be_called_what_the_api_calls_its_parts(name: str) -> None:
    assert parse(f"/v2/{name}/manifests/t") == ManifestRequest(
        "docker.io", name, TagName("docker.io", name, "t")
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v2",
        "//v2/",
        "/v2//",
        "/v1/",
        "/v2/library/nginx",
        "/v2/library/nginx/manifests",
        "/v2/library/nginx/manifests/",
        "/v2/library/nginx/manifests/a/b",
        "/v2/library/nginx/tags/list",
        "/v2/library/nginx/blobs/uploads/",
        f"/v2/library/nginx/referrers/{DIGEST}",
        "/v2/_catalog",
        "/v2/manifests/latest",
        f"/v2/blobs/{DIGEST}",
        f"/x/v2/library/nginx/blobs/{DIGEST}",
        "/v2/library/nginx/Manifests/latest",
    ],
)
def test_another_path_is_no_endpoint(path: str) -> None:
    with pytest.raises(UnknownEndpointError):
        parse(path)


@pytest.mark.parametrize(
    "name",
    [
        "/nginx",
        "nginx/",
        "a//b",
        "..",
        "../etc",
        "a/../b",
        "./a",
        "Library/nginx",
        "a b",
        "a\nb",
        "a%2fb",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "ünïcode",
        "\ufffd",
        "a" * 256,
    ],
)
def test_a_repository_that_breaks_the_grammar_is_refused(name: str) -> None:
    for path in (
        f"/v2/{name}/manifests/latest",
        f"/v2/{name}/manifests/{DIGEST}",
        f"/v2/{name}/blobs/{DIGEST}",
    ):
        with pytest.raises(InvalidReferenceError):
            parse(path)


@pytest.mark.parametrize("tag", [".hidden", "-x", "a" * 129, "a b", "täg", "a@b", "..", "a\n"])
def test_a_tag_that_breaks_the_grammar_is_refused(tag: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse(f"/v2/library/nginx/manifests/{tag}")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha384:" + "a" * 96,
        "sha512:" + "a" * 64,
        "md5:" + "a" * 32,
        "sha256:" + "a" * 64 + "\n",
        ":",
    ],
)
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    for kind in ("manifests", "blobs"):
        with pytest.raises(InvalidDigestError):
            parse(f"/v2/library/nginx/{kind}/{digest}")


def test_a_blob_has_no_tags() -> None:
    with pytest.raises(InvalidDigestError):
        parse("/v2/library/nginx/blobs/latest")


@pytest.mark.parametrize(
    "ns", ["http://docker.io", "a/b", "..", "a b", "a:b", "-", "a" * 260, "ünïcode.io", "x\n", "@"]
)
def test_a_registry_that_breaks_the_grammar_is_refused(ns: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse("/v2/library/nginx/manifests/latest", ns)
