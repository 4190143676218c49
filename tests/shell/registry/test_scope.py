"""What a request leads to, what is served under which repository, and what an answer says of itself."""

from __future__ import annotations

import json

import pytest

from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reach import Reach
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryStore

LAYER = b"layer"
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [{"mediaType": types.OCI_MANIFEST, "digest": str(Digest.of(LAYER)), "size": 5}],
    }
).encode()
NOW = 1_700_000_000.0
TAG = TagName("docker.io", "library/nginx", "1.27")


async def test_an_allowed_request_reaches_what_it_asked_for_and_what_that_names(
    client: HttpClient, store: MemoryStore, reach: Reach
) -> None:
    digest, asked = store.add_blob(INDEX), store.add_blob(b"another")
    await client.ask(f"/v2/library/nginx/manifests/{digest}?ns=docker.io")
    await client.ask(f"/v2/team/app/blobs/{asked}?ns=ghcr.io")

    assert reach.reaches("docker.io", "library/nginx", digest)
    assert reach.reaches("docker.io", "library/nginx", Digest.of(LAYER))
    assert reach.reaches("ghcr.io", "team/app", asked)


async def test_an_answer_says_why_it_is_what_it_is(
    client: HttpClient, store: MemoryStore, router: MemoryRouter, fetcher: MemoryFetcher
) -> None:
    held, elsewhere = store.add_blob(INDEX), fetcher.add_blob(b"elsewhere")
    router.add_tag(TAG, held, observed_at=NOW - 12)

    async def decision(path: str) -> str:
        return (await client.ask(f"/v2/library/nginx/{path}?ns=docker.io")).headers["spegel-gossip-decision"]

    assert await decision(f"manifests/{held}") == "digest held here"
    assert await decision("manifests/1.27") == "tag by cluster, seen 12 s ago"
    assert await decision(f"blobs/{elsewhere}") == "digest held by another member"


class TestRepositoryScope:
    @pytest.fixture
    def config(self) -> RegistryConfig:
        return RegistryConfig(repository_scope=True)

    @pytest.mark.parametrize("kind", ["blobs", "manifests"])
    async def test_a_digest_is_served_only_where_an_image_of_the_repository_reaches_it(
        self, client: HttpClient, store: MemoryStore, reach: Reach, kind: str
    ) -> None:
        digest = store.add_blob(INDEX)
        reach.add("docker.io", "library/nginx", [digest])

        assert (await client.ask(f"/v2/library/nginx/{kind}/{digest}?ns=docker.io")).status == 200
        for name, ns in (("library/other", "docker.io"), ("library/nginx", "ghcr.io")):
            reply = await client.ask(f"/v2/{name}/{kind}/{digest}?ns={ns}")
            assert reply.status == 404
            assert "--repository-scope" in reply.json()["errors"][0]["message"]

    async def test_a_pull_by_tag_opens_what_its_manifest_names(
        self, client: HttpClient, store: MemoryStore, router: MemoryRouter
    ) -> None:
        digest, layer = store.add_blob(INDEX), store.add_blob(LAYER)
        router.add_tag(TAG, digest, observed_at=NOW)
        assert (await client.ask(f"/v2/library/nginx/blobs/{layer}?ns=docker.io")).status == 404

        assert (await client.ask("/v2/library/nginx/manifests/1.27?ns=docker.io")).status == 200

        assert (await client.ask(f"/v2/library/nginx/blobs/{layer}?ns=docker.io")).status == 200
