from __future__ import annotations

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reference import TagName


def test_nothing_set_allows_everything() -> None:
    nothing = ContentFilter.make()

    assert not nothing.is_set
    assert nothing.allows("docker.io", "library/nginx", "latest")
    assert nothing.allows("ghcr.io", "any/thing")


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("private", False),
        (r"^docker\.io/", False),
        (r"^ghcr\.io/", True),
        (r":latest$", False),
        (r":1\.27$", True),
        (r"^docker\.io/private/app:latest$", False),
        (r"^private", True),
        (r"PRIVATE", True),
        (r"(?i)PRIVATE", False),
    ],
)
def test_an_expression_is_searched_for_in_the_full_name(pattern: str, allowed: bool) -> None:
    content_filter = ContentFilter.make([pattern])

    assert content_filter.is_set
    assert content_filter.allows("docker.io", "private/app", "latest") is allowed


def test_one_match_of_several_expressions_is_enough() -> None:
    content_filter = ContentFilter.make(["nowhere", "private", "elsewhere"])

    assert not content_filter.allows("docker.io", "private/app")


def test_a_request_by_digest_has_no_tag_to_match() -> None:
    content_filter = ContentFilter.make([":latest$"])

    assert content_filter.allows("docker.io", "library/nginx")
    assert not content_filter.allows_tag(TagName("docker.io", "library/nginx", "latest"))


def test_only_mirrored_registries_are_served() -> None:
    content_filter = ContentFilter.make(registries=["ghcr.io", "localhost:5000"])

    assert content_filter.allows("ghcr.io", "any/thing")
    assert content_filter.allows("localhost:5000", "any/thing", "v1")
    assert not content_filter.allows("docker.io", "library/nginx")
    assert not content_filter.allows("localhost", "any/thing")


def test_an_expression_wins_over_a_mirrored_registry() -> None:
    content_filter = ContentFilter.make(["private"], registries=["ghcr.io"])

    assert not content_filter.allows("ghcr.io", "private/app")


@pytest.mark.parametrize("pattern", ["(", "[a-", "*", "(?P<a>x)(?P<a>y)", "a{2,1}", ""])
def test_an_expression_that_does_not_compile_is_refused_with_a_remedy(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ContentFilter.make([pattern])

    assert "correct it" in str(caught.value) or "remove it" in str(caught.value)
