from __future__ import annotations

import pytest

from spegel_gossip.health import Health
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.routing import AllHoldersFailedError, OwnersUnreachableError
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryStore

DIGEST = Digest.of(b"nobody has this")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_says_that_the_api_is_spoken(client: HttpClient, method: str) -> None:
    reply = await client.ask("/v2/", method=method)

    assert reply.status == 200
    assert reply.headers["docker-distribution-api-version"] == "registry/2.0"
    assert reply.headers["content-length"] == "2"


@pytest.mark.parametrize("target", ["/v2/", "/readyz", "/livez"])
async def test_a_whole_url_is_answered_as_its_path_is(client: HttpClient, target: str) -> None:
    reply = await client.ask(f"http://127.0.0.1:29500{target}")

    assert (reply.status, reply.body) == (200, (await client.ask(target)).body)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2",
        "/v1/",
        "//v2/",
        "/v2//",
        "/v2/_catalog",
        "/v2/library/nginx/tags/list",
        f"/v2/library/nginx/referrers/{DIGEST}",
        "/v2/library/nginx/blobs/uploads/",
        "/v2/library/nginx/manifests/",
        f"/v2/library/nginx/blobs/{DIGEST}/",
        f"/v2/blobs/{DIGEST}",
        "/favicon.ico",
        "/metrics",
        "/v2/" + "a/" * 2000,
        "/%00",
        "/%ff%fe",
        "/v2/%2e%2e%2f",
        "/readyz/",
        "/readyz/..",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_anything_else_is_not_found(client: HttpClient, target: str, method: str) -> None:
    reply = await client.ask(target, method=method)

    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    if method == "GET":
        assert "ask the registry" in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "target",
    [
        "/v2/",
        "/v2/library/nginx/blobs/uploads/",
        "/v2/library/nginx/manifests/latest",
        f"/v2/library/nginx/blobs/{DIGEST}",
        "/elsewhere",
        "/readyz",
        "/livez",
    ],
)
async def test_another_method_is_not_allowed_anywhere(client: HttpClient, method: str, target: str) -> None:
    reply = await client.ask(target, method=method)

    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD"
    assert reply.json()["errors"][0]["code"] == "UNSUPPORTED"


async def test_an_upload_is_refused_and_the_connection_survives_it(client: HttpClient) -> None:
    reply = await client.ask("/v2/x/blobs/uploads/", method="POST", body=b"x" * 100_000)

    assert reply.status == 405


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/v2/Library/nginx/manifests/latest", "NAME_INVALID"),
        ("/v2/../etc/manifests/passwd", "NAME_INVALID"),
        ("/v2/a/../../b/manifests/latest", "NAME_INVALID"),
        ("/v2/a//b/manifests/latest", "NAME_INVALID"),
        ("/v2//a/manifests/latest", "NAME_INVALID"),
        ("/v2/%C3%BC/manifests/latest", "NAME_INVALID"),
        ("/v2/%ff/manifests/latest", "NAME_INVALID"),
        ("/v2/a%0ab/manifests/latest", "NAME_INVALID"),
        ("/v2/a%20b/manifests/latest", "NAME_INVALID"),
        ("/v2/" + "a" * 256 + "/manifests/latest", "NAME_INVALID"),
        ("/v2/" + "a/" * 2000 + "a/manifests/latest", "NAME_INVALID"),
        ("/v2/a/manifests/.latest", "NAME_INVALID"),
        ("/v2/a/manifests/" + "t" * 129, "NAME_INVALID"),
        ("/v2/a/manifests/latest?ns=..", "NAME_INVALID"),
        ("/v2/a/manifests/latest?ns=http://docker.io", "NAME_INVALID"),
        ("/v2/a/manifests/latest?ns=" + "x" * 5000, "NAME_INVALID"),
        ("/v2/a/manifests/latest?ns=%ff%fe", "NAME_INVALID"),
        ("/v2/a/manifests/sha256:abc", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:abc", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:" + "A" * 64, "DIGEST_INVALID"),
        ("/v2/a/blobs/md5:" + "a" * 32, "DIGEST_INVALID"),
        ("/v2/a/blobs/latest", "DIGEST_INVALID"),
        ("/v2/a/blobs/..", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:" + "a" * 10_000, "DIGEST_INVALID"),
    ],
)
async def test_a_name_that_cannot_be_is_a_bad_request(client: HttpClient, target: str, code: str) -> None:
    reply = await client.ask(target)

    assert reply.status == 400
    assert reply.json()["errors"][0]["code"] == code
    assert len(reply.body) < 2000
    assert (await client.ask(target, method="HEAD")).headers["content-length"] == str(len(reply.body))


async def test_the_parameter_ns_names_the_registry(
    client: HttpClient, store: MemoryStore, router: MemoryRouter
) -> None:
    await client.ask("/v2/a/manifests/b?ns=ghcr.io")
    await client.ask("/v2/a/manifests/b?x=1&ns=registry-1.docker.io&y=2")
    await client.ask("/v2/a/manifests/b?ns=")
    await client.ask("/v2/a/manifests/b")

    assert [name for name, _ in router.told] == [
        TagName("ghcr.io", "a", "b"),
        TagName("docker.io", "a", "b"),
        TagName("docker.io", "a", "b"),
        TagName("docker.io", "a", "b"),
    ]


class TestAnotherDefaultRegistry:
    @pytest.fixture
    def config(self) -> RegistryConfig:
        return RegistryConfig(default_registry="Registry.LAN:5000")

    async def test_it_is_meant_without_ns(self, client: HttpClient, router: MemoryRouter) -> None:
        await client.ask("/v2/a/manifests/b")
        await client.ask("/v2/a/manifests/b?ns=docker.io")

        assert [name.registry for name, _ in router.told] == ["registry.lan:5000", "docker.io"]


class TestFilters:
    @pytest.fixture
    def filters(self) -> ContentFilter:
        return ContentFilter.make(["/private/", ":edge$"], registries=["docker.io"])

    @pytest.mark.parametrize(
        "target",
        [
            f"/v2/private/app/blobs/{DIGEST}?ns=ghcr.io",
            f"/v2/library/private/app/blobs/{DIGEST}",
            f"/v2/library/private/app/manifests/{DIGEST}",
            "/v2/library/private/app/manifests/latest",
            "/v2/library/nginx/manifests/edge",
            f"/v2/library/nginx/blobs/{DIGEST}?ns=ghcr.io",
        ],
    )
    async def test_what_is_filtered_is_not_served_though_it_is_here(
        self, client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher, target: str
    ) -> None:
        store.add_blob(b"nobody has this")
        fetcher.add_blob(b"nobody has this")

        reply = await client.ask(target)

        assert reply.status == 404
        assert reply.json()["errors"][0]["code"] == "NAME_UNKNOWN"
        assert "--registry-filter" in reply.json()["errors"][0]["message"]
        assert fetcher.asked == []

    async def test_everything_else_is(self, client: HttpClient, store: MemoryStore) -> None:
        store.add_blob(b"nobody has this")

        assert (await client.ask(f"/v2/library/nginx/blobs/{DIGEST}?ns=docker.io")).status == 200


async def test_attempts_that_failed_are_in_the_detail(client: HttpClient, fetcher: MemoryFetcher) -> None:
    fetcher.failure = lambda digest: AllHoldersFailedError(digest, ["node-a: no answer", "node-b: 404"])

    reply = await client.ask(f"/v2/a/blobs/{DIGEST}")

    assert reply.status == 404
    assert reply.json()["errors"][0]["detail"] == ["node-a: no answer", "node-b: 404"]


async def test_owners_that_cannot_be_asked_are_a_404_of_their_own_words(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    fetcher.failure = OwnersUnreachableError

    reply = await client.ask(f"/v2/a/blobs/{DIGEST}")

    assert reply.status == 404
    assert "spegel-gossip members" in reply.json()["errors"][0]["message"]


async def test_a_bug_is_a_500_and_the_connection_goes_on(client: HttpClient, fetcher: MemoryFetcher) -> None:
    fetcher.failure = lambda digest: ZeroDivisionError("a bug in the fetcher")

    reply = await client.ask(f"/v2/a/blobs/{DIGEST}")

    assert reply.status == 500
    assert "ZeroDivisionError" not in reply.body.decode()
    assert (await client.ask("/v2/")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("health", [Health(is_ready=True, reasons=("no seed reached",))])
async def test_ready_says_so(client: HttpClient, method: str) -> None:
    reply = await client.ask("/readyz", method=method)

    assert reply.status == 200
    if method == "GET":
        assert reply.json() == {"ready": True, "reasons": ["no seed reached"]}


@pytest.mark.parametrize(
    "health", [Health(is_ready=False, reasons=("containerd.sock refused", "disk unreadable"))]
)
async def test_not_ready_is_503_with_its_reasons(client: HttpClient) -> None:
    reply = await client.ask("/readyz")

    assert reply.status == 503
    assert reply.json() == {"ready": False, "reasons": ["containerd.sock refused", "disk unreadable"]}
    assert (await client.ask("/livez")).status == 200, "alive all the same"
