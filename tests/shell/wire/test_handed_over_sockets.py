from __future__ import annotations

import pytest
import trio

from shell.wire.endpoints import Endpoints
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.response import PeerResponse
from spegel_gossip.wire.server import PeerHandler

PAYLOAD = bytes(range(256)) * 4096


def serve(payload: bytes, *, send: int | None = None) -> PeerHandler:
    """Send the body through the socket itself; `send` bytes of it only, if given."""

    async def handler(request: PeerRequest, exchange: PeerExchange) -> None:
        sock = await exchange.start(200, headers={"Content-Type": "x/y"}, content_length=len(payload))
        if request.method == "HEAD":
            exchange.finish(sent=0)
            return
        sent = 0
        stop = len(payload) if send is None else send
        while sent < stop:
            sent += await sock.send(payload[sent : min(stop, sent + 100_000)])
        exchange.finish(sent=sent)

    return handler


async def read(response: PeerResponse) -> bytes:
    """Read the head's bytes and then the raw socket's, to the end or to Content-Length."""
    body = response.head
    while len(body) < response.content_length:
        data = await response.socket.recv(min(65536, response.content_length - len(body)))
        if not data:
            break
        body += data
    return body


@pytest.mark.parametrize("size", [0, 1, 10, 20_000, len(PAYLOAD)])
async def test_a_body_goes_from_socket_to_socket(
    endpoints: Endpoints, keyring: Keyring | None, size: int
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", serve(PAYLOAD[:size]))

    response = await a.client.open(b.peer, "GET", "/blobs/x", headers={})

    assert (response.status, response.content_length) == (200, size)
    assert response.headers["content-type"] == "x/y"
    assert await read(response) == PAYLOAD[:size]
    await response.aclose(drained=True)


async def test_the_connection_goes_on_after_a_handed_over_body(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", serve(PAYLOAD))
    ports = set()
    for method in ("GET", "HEAD", "GET"):
        response = await a.client.open(b.peer, method, "/blobs/x", headers={})
        assert response.content_length == len(PAYLOAD)
        if method == "GET":
            assert await read(response) == PAYLOAD
        ports.add(response.socket.getsockname()[1])
        await response.aclose(drained=True)

    assert len(ports) == 1


async def test_a_short_body_ends_with_fin(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", serve(PAYLOAD, send=300_000))

    response = await a.client.open(b.peer, "GET", "/blobs/x", headers={})

    # A reset would raise here, and could take bytes with it that were sent before.
    assert await read(response) == PAYLOAD[:300_000]
    await response.aclose(drained=False)


async def test_a_short_body_ends_with_fin_even_with_input_unread(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", serve(PAYLOAD, send=1000))

    response = await a.client.open(b.peer, "GET", "/blobs/x", headers={})
    await response.socket.send(b"GET / HTTP/1.1\r\n\r\n" * 100)

    assert await read(response) == PAYLOAD[:1000]
    await response.aclose(drained=False)


async def test_a_reader_that_goes_away_ends_that_connection_only(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", serve(PAYLOAD * 8))

    response = await a.client.open(b.peer, "GET", "/blobs/x", headers={})
    await response.aclose(drained=False)
    await response.aclose(drained=False)
    again = await a.client.open(b.peer, "GET", "/blobs/x", headers={})

    assert await read(again) == PAYLOAD * 8
    await again.aclose(drained=True)


async def test_a_stopped_server_ends_a_body_with_fin(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)

    async def endless(request: PeerRequest, exchange: PeerExchange) -> None:
        sock = await exchange.start(200, headers={}, content_length=1_000_000)
        await sock.send(b"first")
        await trio.sleep_forever()

    b.server.route("/blobs/", endless)
    response = await a.client.open(b.peer, "GET", "/blobs/x", headers={})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(endpoints.stop, b)

        assert await read(response) == b"first"
        await response.aclose(drained=False)


@pytest.mark.parametrize("sent", [1, 11])
async def test_finish_cannot_lie(endpoints: Endpoints, keyring: Keyring | None, sent: int) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    errors: list[Exception] = []

    async def handler(request: PeerRequest, exchange: PeerExchange) -> None:
        if sent > 10:
            await exchange.start(200, headers={}, content_length=10)
        try:
            exchange.finish(sent=sent)
        except RuntimeError as exc:
            errors.append(exc)

    b.server.route("/", handler)
    response = await a.client.open(b.peer, "GET", "/", headers={})
    await response.aclose(drained=False)

    assert len(errors) == 1
