"""A registry without a cluster, as `spegel-gossip serve` runs it."""

from __future__ import annotations

import pytest

from spegel_gossip.oci.digest import Digest
from spegel_gossip.registry.alone import Nobody
from spegel_gossip.testing.http_client import HttpClient

DIGEST = Digest.of(b"not here")


@pytest.fixture
def router() -> Nobody:
    return Nobody()


@pytest.fixture
def fetcher() -> Nobody:
    return Nobody()


@pytest.mark.parametrize("path", ["manifests/v1", f"manifests/{DIGEST}", f"blobs/{DIGEST}"])
async def test_what_is_not_here_is_a_404_that_speaks_of_no_cluster(client: HttpClient, path: str) -> None:
    reply = await client.ask(f"/v2/team/absent/{path}")

    assert reply.status == 404
    message = reply.json()["errors"][0]["message"]
    assert "is not in this registry" in message
    assert "spegel-gossip pull" in message
    assert "containerd" not in message
