from __future__ import annotations

import pytest

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import (
    MAX_REGISTRY_LENGTH,
    MAX_REPOSITORY_LENGTH,
    Reference,
    TagName,
    check_repository,
    normalize_registry,
)

DIGEST = Digest.of(b"hello")


@pytest.mark.parametrize(
    ("text", "spelt_out"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("org/app", "docker.io/org/app:latest"),
        ("a/b/c:d", "docker.io/a/b/c:d"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("registry-1.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        ("Docker.IO/nginx", "docker.io/library/nginx:latest"),
        ("ghcr.io/nginx", "ghcr.io/nginx:latest"),
        ("ghcr.io/org/app:v1", "ghcr.io/org/app:v1"),
        ("GHCR.io/org/app:v1", "ghcr.io/org/app:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry:5000/app", "registry:5000/app:latest"),
        ("10.0.0.1:5000/app:v1", "10.0.0.1:5000/app:v1"),
        ("[::1]:5000/app:v1", "[::1]:5000/app:v1"),
        ("[fd00::1]/app", "[fd00::1]/app:latest"),
        # Without a slash nothing is a registry, not even with a port.
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("ghcr.io", "docker.io/library/ghcr.io:latest"),
        ("a__b/c-d/e.f_g--h", "docker.io/a__b/c-d/e.f_g--h:latest"),
        ("x:_y.Z-", "docker.io/library/x:_y.Z-"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.27@{DIGEST}", f"docker.io/library/nginx:1.27@{DIGEST}"),
        (f"ghcr.io/org/app@{DIGEST}", f"ghcr.io/org/app@{DIGEST}"),
    ],
)
def test_short_names_are_spelt_out_as_docker_does(text: str, spelt_out: str) -> None:
    reference = Reference.parse(text)

    assert str(reference) == spelt_out
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "@",
        "/",
        "nginx:",
        ":latest",
        "nginx@",
        "nginx@latest",
        "nginx@sha256:abc",
        f"@{DIGEST}",
        f"nginx@{DIGEST}@{DIGEST}",
        f"nginx@{DIGEST}:latest",
        "nginx:a:b",
        "nginx:a/b",
        "Nginx",
        "org/App",
        "Org/app",
        "/nginx",
        "nginx/",
        "org//app",
        "../nginx",
        "org/../app",
        "org/./app",
        "docker.io/",
        "docker.io//nginx",
        "https://docker.io/nginx",
        "user@docker.io/nginx",
        "docker..io/nginx",
        "-registry.io/nginx",
        "registry.io-/nginx",
        "registry.io:/nginx",
        "registry.io:port/nginx",
        "registry.io:123456/nginx",
        "[::1/nginx",
        "[xyz]:5000/nginx",
        "nginx latest",
        " nginx",
        "nginx\n",
        "nginx:latest\n",
        "ngi\0nx",
        "ngïnx",
        "a___b",
        "a..b",
        "-a",
        "a-",
        "_a",
        "a.",
        "nginx:.latest",
        "nginx:-latest",
        "nginx:" + "t" * 129,
        "a" * 256,
        "a/" * 200 + "a",
        "r" * 260 + ".io/nginx",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        Reference.parse(text)


def test_a_digest_alone_means_no_tag() -> None:
    by_digest = Reference.parse(f"nginx@{DIGEST}")
    by_both = Reference.parse(f"nginx:1.27@{DIGEST}")

    assert (by_digest.tag_name, by_digest.digest) == (None, DIGEST)
    assert by_both.tag_name == TagName("docker.io", "library/nginx", "1.27")


def test_another_default_registry_has_no_library() -> None:
    reference = Reference.parse("nginx", default_registry="ghcr.io")

    assert str(reference) == "ghcr.io/nginx:latest"


def test_the_longest_names_are_accepted() -> None:
    repository, tag = "a" * MAX_REPOSITORY_LENGTH, "t" * 128
    registry = ".".join(["r" * 49] * 5) + ".io:65535"

    assert len(registry) == MAX_REGISTRY_LENGTH - 1
    assert str(Reference.parse(f"{registry}/{repository}:{tag}")) == f"{registry}/{repository}:{tag}"


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io", "DOCKER.IO"])
def test_docker_hub_has_one_name(name: str) -> None:
    assert normalize_registry(name) == "docker.io"


@pytest.mark.parametrize(
    "name",
    ["", "http://ghcr.io", "ghcr.io/", "a b", "ghcr.io\n", "..", "a..b", "a_b.io", "a:b", "x" * 260, "é.io"],
)
def test_what_is_no_registry_is_refused(name: str) -> None:
    with pytest.raises(InvalidReferenceError):
        normalize_registry(name)


@pytest.mark.parametrize(
    "text",
    ["docker.io/library/nginx:1.27", "localhost:5000/a/b:c", "[::1]:5000/a:b", "registry.lan/a:b", "x/y:z"],
)
def test_a_full_name_is_written_as_it_was_read(text: str) -> None:
    assert str(TagName.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nginx",
        "nginx:latest",
        "docker.io/library/nginx",
        "docker.io/:x",
        "/a:b",
        "a/b:",
        "a/B:c",
        "a/b:c\n",
    ],
)
def test_a_name_that_is_not_full_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        TagName.parse(text)


def test_aliases_make_equal_names() -> None:
    assert TagName.parse("index.docker.io/a/b:c") == TagName.make("docker.io", "a/b", "c")


def test_a_repository_is_checked_without_a_tag() -> None:
    assert check_repository("library/nginx") == "library/nginx"
    with pytest.raises(InvalidReferenceError):
        check_repository("library/../nginx")


def test_the_error_keeps_no_more_than_a_log_line_of_the_text() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse("x" * 100_000)

    assert len(str(caught.value)) < 500
