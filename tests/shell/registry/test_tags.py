from __future__ import annotations

import json

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.registry.mirror import MAX_LOOKED_AHEAD
from spegel_gossip.registry.tags import Observation, Tags
from spegel_gossip.routing import NoHolderError
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryStore

INDEX = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
PULLED = Observation(Digest.of(INDEX), 1000.0)


def name(number: int) -> TagName:
    return TagName("docker.io", "library/nginx", f"v{number}")


def pull(store: MemoryStore, tag: TagName, *, at: float) -> None:
    store.add_blob(INDEX)
    store.tag(tag, Descriptor(Digest.of(INDEX), len(INDEX), types.OCI_INDEX), updated_at=at)


async def test_what_is_here_is_as_old_as_upstream_s_word_whenever_the_store_wrote_it_down(
    store: MemoryStore, router: MemoryRouter
) -> None:
    tags = Tags(store=store, router=router)
    router.observed[name(1), PULLED.digest] = PULLED.observed_at
    for number in (1, 2):
        pull(store, name(number), at=5000.0)

    assert await tags.observations(name(1)) == [PULLED]
    assert await tags.observations(name(2)) == [Observation(PULLED.digest, 0.0)]


async def test_what_was_purged_is_not_answered_although_it_is_here(
    store: MemoryStore, router: MemoryRouter
) -> None:
    tags = Tags(store=store, router=router)
    router.observed[name(1), PULLED.digest] = None
    pull(store, name(1), at=5000.0)

    with pytest.raises(NoHolderError):
        await tags.observations(name(1))


async def test_only_so_many_children_are_looked_up_ahead(
    client: HttpClient, router: MemoryRouter, fetcher: MemoryFetcher
) -> None:
    children = [Digest.of(str(number).encode()) for number in range(MAX_LOOKED_AHEAD + 10)]
    entries = [{"mediaType": types.OCI_MANIFEST, "digest": str(child), "size": 1} for child in children * 2]
    digest = fetcher.add_blob(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    assert (await client.ask(f"/v2/x/manifests/{digest}")).status == 200

    assert router.looked_ahead == [tuple(children[:MAX_LOOKED_AHEAD])]


@pytest.mark.parametrize("registry", ["", "http://docker.io", "a/b"])
def test_a_default_registry_that_is_none_names_the_flag(registry: str) -> None:
    with pytest.raises(ConfigError, match="--default-registry"):
        RegistryConfig(default_registry=registry)


def test_the_default_registry_is_kept_by_its_normal_name() -> None:
    assert RegistryConfig(default_registry="Index.Docker.IO").default_registry == "docker.io"
