import pytest

from spegel_gossip.client.endpoint import Endpoint, endpoints_of, is_loopback
from spegel_gossip.errors import ConfigError


@pytest.mark.parametrize(
    ("registry", "plain_http", "url"),
    [
        ("docker.io", False, "https://registry-1.docker.io"),
        ("ghcr.io", False, "https://ghcr.io"),
        ("registry.lab:5000", True, "http://registry.lab:5000"),
        ("localhost:5000", False, "http://localhost:5000"),
        ("127.0.0.1:5000", False, "http://127.0.0.1:5000"),
        ("[::1]:5000", False, "http://[::1]:5000"),
        ("10.0.0.1:5000", False, "https://10.0.0.1:5000"),
    ],
)
def test_a_registry_is_asked_where_it_is(registry: str, plain_http: bool, url: str) -> None:
    assert endpoints_of(registry, plain_http=plain_http) == (Endpoint(url, registry),)


def test_mirrors_come_first_in_their_order_and_see_their_own_credentials_only() -> None:
    endpoints = endpoints_of("docker.io", mirrors=["http://127.0.0.1:29500/", "https://cache.example/hub"])

    assert [endpoint.url for endpoint in endpoints] == [
        "http://127.0.0.1:29500",
        "https://cache.example/hub",
        "https://registry-1.docker.io",
    ]
    assert [endpoint.credentials_name for endpoint in endpoints] == [
        "127.0.0.1:29500",
        "cache.example",
        "docker.io",
    ]


@pytest.mark.parametrize(
    "text", ["127.0.0.1:29500", "ftp://x", "http://", "http://a/?b=c", "http://u:p@a", "http://["]
)
def test_a_mirror_that_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--mirror"):
        endpoints_of("docker.io", mirrors=[text])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost:1", True),
        ("127.8.8.8", True),
        ("localhost.example", False),
        ("1.2.3.4:5", False),
    ],
)
def test_loopback_is_told_from_its_lookalikes(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
