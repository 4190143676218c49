from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import cast

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry, Counter
from quart_trio import QuartTrio

from spegel_gossip.health import Health
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import OwnersUnreachableError
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.status.app import SNAPSHOT_TIMEOUT, create_status_app
from spegel_gossip.testing.http_client import HttpClient


@pytest.fixture
def health() -> Health:
    return Health(is_ready=True)


async def members(query: Mapping[str, str]) -> object:
    return {"cluster": "c", "self": "a", "members": [], "query": dict(query)}


async def holders(query: Mapping[str, str]) -> object:
    if not query.get("key"):
        raise InvalidReferenceError("", "it is empty")
    raise OwnersUnreachableError(TagName("docker.io", "library/nginx", "latest"))


async def broken(query: Mapping[str, str]) -> object:
    raise ZeroDivisionError("a bug in a snapshot")


async def stuck(query: Mapping[str, str]) -> object:
    await trio.Event().wait()
    return None


@pytest.fixture
def app(health: Health) -> QuartTrio:
    registry = CollectorRegistry()
    Counter("spegel_gossip_test_events", "Things that happened.", registry=registry).inc(3)
    snapshots = {"members": members, "holders": holders, "broken": broken, "stuck": stuck}
    return create_status_app(health=lambda: health, snapshots=snapshots, registry=registry)


@pytest.fixture
async def client(nursery: trio.Nursery, app: QuartTrio) -> AsyncIterator[HttpClient]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = cast("int", listeners[0].socket.getsockname()[1])
    await nursery.start(partial(serve, app, listeners, ServerConfig(), pump=Pump()))
    client = await HttpClient.connect(port)
    yield client
    await client.aclose()


async def test_metrics_are_in_the_text_format(client: HttpClient) -> None:
    reply = await client.ask("/metrics")

    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    assert "spegel_gossip_test_events_total 3.0" in reply.body.decode()


async def test_metrics_are_in_open_metrics_for_who_asks(client: HttpClient) -> None:
    reply = await client.ask("/metrics", headers=[("Accept", "application/openmetrics-text; version=1.0.0")])

    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


async def test_a_snapshot_is_asked_with_the_query(client: HttpClient) -> None:
    reply = await client.ask("/api/members.json?zone=a&x=%C3%BC")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["query"] == {"zone": "a", "x": "ü"}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/holders.json", 400),
        ("/api/holders.json?key=nginx", 503),
        ("/api/nothing.json", 404),
        ("/api/members", 404),
        ("/api/../metrics", 404),
        ("/api/.json", 404),
        ("/metrics/", 404),
        ("/debug/pprof", 404),
        ("/v2/", 404),
        ("/%ff", 404),
        ("/" + "x" * 5000, 404),
    ],
)
async def test_what_cannot_be_answered_says_why(client: HttpClient, target: str, status: int) -> None:
    reply = await client.ask(target)

    assert reply.status == status
    assert reply.json()["error"]


async def test_a_bug_in_a_snapshot_is_a_500_without_its_text(client: HttpClient) -> None:
    reply = await client.ask("/api/broken.json")

    assert reply.status == 500
    assert b"ZeroDivisionError" not in reply.body
    assert (await client.ask("/livez")).status == 200


@pytest.mark.parametrize("target", ["/", "/metrics", "/api/members.json", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed_from_here(client: HttpClient, target: str, method: str) -> None:
    reply = await client.ask(target, method=method)

    assert reply.status == 405
    assert "GET" in reply.headers["allow"]


async def test_ready_and_alive(client: HttpClient) -> None:
    assert (await client.ask("/readyz")).json() == {"ready": True, "reasons": []}
    assert (await client.ask("/livez")).status == 200
    assert (await client.ask("/readyz", method="HEAD")).status == 200


@pytest.mark.parametrize("health", [Health(is_ready=False, reasons=("content root unreadable: mount it",))])
async def test_not_ready_says_what_to_do(client: HttpClient) -> None:
    reply = await client.ask("/readyz")

    assert reply.status == 503
    assert reply.json()["reasons"] == ["content root unreadable: mount it"]


async def test_the_page_takes_nothing_from_elsewhere(client: HttpClient) -> None:
    reply = await client.ask("/")

    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    text = reply.body.decode()
    assert not re.search(r"https?://|//[a-z]+\.|@import|<(?:img|iframe|link rel=.stylesheet)|src=", text)
    assert "innerHTML" not in text, "names come from other nodes"


async def test_the_page_may_run_its_own_script_only(client: HttpClient) -> None:
    policy = (await client.ask("/")).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}';", policy)
    assert "unsafe" not in policy


async def test_every_member_state_has_a_colour_on_the_page(client: HttpClient) -> None:
    text = (await client.ask("/")).body.decode()

    states = re.search(r"const STATES = \{(.*?)\}", text)
    assert states is not None
    assert set(re.findall(r"(\w+):", states[1])) == {"alive", "suspect", "dead", "left"}


async def test_a_stuck_snapshot_is_given_up(app: QuartTrio, autojump_clock: trio.testing.MockClock) -> None:
    # Without sockets: the virtual clock would not wait for them.
    reply = await app.test_client().get("/api/stuck.json")

    assert reply.status_code == 504
    assert trio.current_time() == pytest.approx(SNAPSHOT_TIMEOUT, abs=1)
