from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from kubernetes.client import Configuration

from shell.discovery import api_server as api
from spegel_gossip.discovery.node_zone import read_node_zone
from spegel_gossip.discovery.source import DiscoveryError

LABELLED = {"kind": "Node", "metadata": {"labels": {"topology.kubernetes.io/zone": "eu-1a"}}}


@pytest.fixture
def server() -> Iterator[api.ApiServer]:
    with api.running(api.ApiServer()) as server:
        yield server


async def zone_of(server: api.ApiServer) -> str:
    def configure(configuration: Configuration) -> None:
        configuration.host = server.url

    with trio.fail_after(10):
        return await read_node_zone("node-a", configure=configure)


@pytest.mark.parametrize(
    ("document", "zone"),
    [(LABELLED, "eu-1a"), ({"metadata": {"labels": {}}}, ""), ({"metadata": {}}, "")],
)
async def test_the_zone_is_the_nodes_label(server: api.ApiServer, document: object, zone: str) -> None:
    server.lists = [api.body(document)]

    assert await zone_of(server) == zone
    assert server.asked[0][0] == "/api/v1/nodes/node-a"


@pytest.mark.parametrize(
    "answer",
    [
        api.hang,
        api.body({"kind": "Status"}, 403),
        api.body([]),
        api.body({"metadata": None}),
        api.raw(b"<html>"),
        api.raw(b"[" * 100_000),
    ],
)
async def test_whatever_else_it_says_is_a_discovery_error_in_time(
    server: api.ApiServer, answer: api.Answer
) -> None:
    server.lists = [answer]

    with pytest.raises(DiscoveryError, match="zone of node-a cannot be read"):
        await zone_of(server)
