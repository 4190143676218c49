from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from spegel_gossip.content import Availability
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.tag_policy import TagPolicies
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryReader, MemoryStore

NGINX = TagName("docker.io", "library/nginx", "1.27")
BY_TAG = "/v2/library/nginx/manifests/1.27?ns=docker.io"
NOW = 1_700_000_000.0


def by_digest(digest: Digest) -> str:
    return f"/v2/library/nginx/manifests/{digest}?ns=docker.io"


def describe(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


CONFIG = b'{"architecture":"amd64"}'
LAYERS = [b"layer one", b"layer two"]


def image(layers: Sequence[bytes] = LAYERS, media_type: str | None = types.OCI_MANIFEST) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "config": describe(CONFIG, types.OCI_CONFIG),
        "layers": [describe(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
    }
    if media_type is not None:
        document["mediaType"] = media_type
    return json.dumps(document).encode()


def seen(router: MemoryRouter, digest: Digest, at: float) -> None:
    """Let this node have heard from upstream that the tag names what is here."""
    router.observed[NGINX, digest] = at


def hold(store: MemoryStore, manifest: bytes) -> Digest:
    for blob in (CONFIG, *LAYERS, b"another layer"):
        store.add_blob(blob)
    digest = store.add_blob(manifest)
    store.tag(NGINX, Descriptor(digest, len(manifest), types.OCI_MANIFEST))
    return digest


IMAGE = image()
OTHER_IMAGE = image([b"another layer"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("where", ["local", "peer"])
@pytest.mark.parametrize("target", [BY_TAG, by_digest(Digest.of(IMAGE))])
async def test_a_manifest_by_tag_and_by_digest(
    client: HttpClient,
    store: MemoryStore,
    router: MemoryRouter,
    fetcher: MemoryFetcher,
    method: str,
    where: str,
    target: str,
) -> None:
    if where == "local":
        hold(store, IMAGE)
    else:
        router.add_tag(NGINX, fetcher.add_blob(IMAGE), observed_at=NOW - 50)

    reply = await client.ask(target, method=method)

    assert reply.status == 200
    assert reply.headers["content-type"] == types.OCI_MANIFEST
    assert reply.headers["content-length"] == str(len(IMAGE))
    assert reply.headers["docker-content-digest"] == str(Digest.of(IMAGE))
    assert reply.headers["etag"] == f'"{Digest.of(IMAGE)}"'
    assert reply.headers["spegel-gossip-source"] == where
    assert reply.body == (IMAGE if method == "GET" else b"")


@pytest.mark.parametrize(
    ("manifest", "media_type"),
    [
        (image(media_type=types.DOCKER_MANIFEST), types.DOCKER_MANIFEST),
        (image(media_type=None), types.OCI_MANIFEST),
        (json.dumps({"schemaVersion": 2, "manifests": []}).encode(), types.OCI_INDEX),
        (
            json.dumps({"schemaVersion": 2, "mediaType": types.DOCKER_LIST, "manifests": []}).encode(),
            types.DOCKER_LIST,
        ),
    ],
)
async def test_the_content_type_is_what_the_document_says_or_shows(
    client: HttpClient, store: MemoryStore, manifest: bytes, media_type: str
) -> None:
    digest = store.add_blob(manifest)

    assert (await client.ask(by_digest(digest))).headers["content-type"] == media_type


async def test_a_manifest_may_be_named_by_sha512(client: HttpClient, fetcher: MemoryFetcher) -> None:
    digest = Digest("sha512", hashlib.sha512(IMAGE).hexdigest())
    fetcher.add_blob(IMAGE, digest=digest)

    reply = await client.ask(by_digest(digest))

    assert reply.body == IMAGE
    assert reply.headers["docker-content-digest"] == str(digest)


@pytest.mark.parametrize(
    "content",
    [b"", b"layer bytes", b"[]", b"{}", b'{"schemaVersion":1}', b"\xff\xfe", b"x" * (4 * 1024 * 1024 + 1)],
)
async def test_content_that_is_no_manifest_is_not_served_as_one(
    client: HttpClient, store: MemoryStore, content: bytes
) -> None:
    digest = store.add_blob(content)

    reply = await client.ask(by_digest(digest))

    assert reply.status == 404
    assert reply.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"


class DamagedStore(MemoryStore):
    async def open(self, digest: Digest) -> MemoryReader:
        return MemoryReader(OTHER_IMAGE, has_descriptor=False)


@pytest.mark.parametrize("store", [DamagedStore()])
async def test_a_damaged_local_manifest_is_asked_of_a_peer(
    client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher
) -> None:
    fetcher.add_blob(IMAGE)

    reply = await client.ask(by_digest(Digest.of(IMAGE)))

    assert reply.body == IMAGE
    assert reply.headers["spegel-gossip-source"] == "peer"


async def test_a_manifest_is_fetched_once_and_served_from_memory_after_that(
    client: HttpClient, router: MemoryRouter, fetcher: MemoryFetcher
) -> None:
    router.add_tag(NGINX, fetcher.add_blob(IMAGE), observed_at=NOW)

    await client.ask(BY_TAG, method="HEAD")
    reply = await client.ask(by_digest(Digest.of(IMAGE)))

    assert reply.body == IMAGE
    assert fetcher.asked == [Digest.of(IMAGE)]


async def test_the_children_that_are_not_here_are_looked_up_ahead(
    client: HttpClient, store: MemoryStore, router: MemoryRouter
) -> None:
    digest = store.add_blob(IMAGE)
    store.add_blob(LAYERS[0])

    await client.ask(by_digest(digest), method="HEAD")
    assert router.looked_ahead == []
    await client.ask(by_digest(digest))

    assert router.looked_ahead == [(Digest.of(CONFIG), Digest.of(LAYERS[1]))]


async def test_who_ingests_the_manifest_asks_for_each_child_and_needs_no_look_ahead(
    client: HttpClient, fetcher: MemoryFetcher, router: MemoryRouter
) -> None:
    digest = fetcher.add_blob(IMAGE)
    fetcher.spreading[digest] = None

    await client.ask(by_digest(digest))

    assert router.looked_ahead == []
    assert router.swarmed == [(Digest.of(CONFIG), *map(Digest.of, LAYERS))]


async def test_a_whole_image_here_needs_no_look_ahead(
    client: HttpClient, store: MemoryStore, router: MemoryRouter
) -> None:
    await client.ask(by_digest(hold(store, IMAGE)))

    assert router.looked_ahead == []


class TestWhichObservationOfATagWins:
    async def test_the_cluster_s_if_it_is_newer(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter, fetcher: MemoryFetcher
    ) -> None:
        seen(router, hold(store, IMAGE), NOW - 100)
        router.add_tag(NGINX, fetcher.add_blob(OTHER_IMAGE), observed_at=NOW - 50)

        reply = await client.ask(BY_TAG)

        assert reply.body == OTHER_IMAGE
        assert router.told == [(NGINX, NOW - 50)]

    async def test_this_node_s_if_that_is_newer(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter, fetcher: MemoryFetcher
    ) -> None:
        seen(router, hold(store, IMAGE), NOW - 10)
        router.add_tag(NGINX, fetcher.add_blob(OTHER_IMAGE), observed_at=NOW - 50)

        assert (await client.ask(BY_TAG)).body == IMAGE
        assert router.told == [(NGINX, NOW - 10)]

    async def test_the_cluster_s_time_if_both_name_the_same(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter
    ) -> None:
        router.add_tag(NGINX, hold(store, IMAGE), observed_at=NOW - 50)

        reply = await client.ask(BY_TAG)

        assert reply.headers["spegel-gossip-source"] == "local"
        assert router.told == [(NGINX, NOW - 50)]

    async def test_the_one_that_can_be_had_if_the_newest_cannot(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter
    ) -> None:
        seen(router, hold(store, IMAGE), NOW - 100)
        router.add_tag(NGINX, Digest.of(OTHER_IMAGE), observed_at=NOW - 50)

        assert (await client.ask(BY_TAG)).body == IMAGE
        assert router.told == [(NGINX, NOW - 100)]

    async def test_this_node_s_if_no_owner_can_be_asked(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter
    ) -> None:
        hold(store, IMAGE)
        router.is_reachable = False

        assert (await client.ask(BY_TAG)).body == IMAGE

    async def test_the_cluster_s_if_the_store_cannot_say(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter, fetcher: MemoryFetcher
    ) -> None:
        store.set_availability(Availability(is_connected=False, is_readable=False, reason="gone"))
        router.add_tag(NGINX, fetcher.add_blob(IMAGE), observed_at=NOW)

        assert (await client.ask(BY_TAG)).body == IMAGE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_tag_whose_manifest_nobody_gives_is_a_404_and_upstream_has_the_word(
    client: HttpClient, router: MemoryRouter, method: str
) -> None:
    router.add_tag(NGINX, Digest.of(IMAGE), observed_at=NOW)

    assert (await client.ask(BY_TAG, method=method)).status == 404
    assert router.told == [(NGINX, None)]


async def test_a_tag_nobody_knows_is_a_404_and_upstream_has_the_word(
    client: HttpClient, router: MemoryRouter
) -> None:
    reply = await client.ask(BY_TAG)

    assert reply.status == 404
    assert reply.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    assert router.told == [(NGINX, None)]


async def test_a_manifest_by_digest_says_nothing_about_tags(
    client: HttpClient, store: MemoryStore, router: MemoryRouter
) -> None:
    await client.ask(by_digest(hold(store, IMAGE)))

    assert router.told == []


async def test_a_tag_whose_image_is_not_whole_here_is_not_answered_from_here(
    client: HttpClient, store: MemoryStore
) -> None:
    digest = store.add_blob(IMAGE)
    store.tag(NGINX, Descriptor(digest, len(IMAGE), types.OCI_MANIFEST))

    assert (await client.ask(BY_TAG)).status == 404


class TestPolicies:
    @pytest.fixture
    def config(self) -> RegistryConfig:
        return RegistryConfig(tag_policies=TagPolicies.parse([":never$=never", r":1\.27$=fresh:1m"]))

    async def test_never_leaves_the_tag_to_upstream(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter
    ) -> None:
        name = TagName("docker.io", "library/nginx", "never")
        digest = hold(store, IMAGE)
        store.tag(name, Descriptor(digest, len(IMAGE), types.OCI_MANIFEST), updated_at=NOW)

        reply = await client.ask("/v2/library/nginx/manifests/never")

        assert reply.status == 404
        assert "--tag-policy" in reply.json()["errors"][0]["message"]
        assert router.told == [(name, None)]
        assert (await client.ask(by_digest(digest))).status == 200, "digests never go stale"

    @pytest.mark.parametrize(("age", "status"), [(0, 200), (60, 200), (61, 404)])
    async def test_fresh_answers_up_to_an_age(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter, age: int, status: int
    ) -> None:
        seen(router, hold(store, IMAGE), NOW - age)

        assert (await client.ask(BY_TAG)).status == status


@pytest.mark.parametrize(("method", "may_lease"), [("GET", True), ("HEAD", False)])
async def test_only_a_get_by_digest_may_make_this_node_the_one_that_fetches(
    client: HttpClient, fetcher: MemoryFetcher, method: str, may_lease: bool
) -> None:
    digest = Digest.of(b"a manifest that nobody has")
    response = await client.ask(by_digest(digest), method=method)
    assert response.status == 404
    assert fetcher.asked == [digest]
    assert fetcher.leasable == ([digest] if may_lease else [])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_tag_never_makes_this_node_the_one_that_fetches(
    client: HttpClient, router: MemoryRouter, fetcher: MemoryFetcher, method: str
) -> None:
    digest = Digest.of(b"a manifest whose holders are gone")
    router.add_tag(NGINX, digest, observed_at=NOW)
    await client.ask(BY_TAG, method=method)
    assert fetcher.asked == [digest]
    assert fetcher.leasable == []
