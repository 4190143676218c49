from __future__ import annotations

from typing import TYPE_CHECKING

from spegel_gossip.wire.exchange import PeerExchange, PeerRequest

if TYPE_CHECKING:
    from shell.wire.endpoints import Endpoints
    from spegel_gossip.wire.keyring import Keyring


async def echo(request: PeerRequest, exchange: PeerExchange) -> None:
    await exchange.answer(200, headers={"X-Sender": request.sender}, body=request.body)


async def test_a_call_is_answered(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)

    answer = await a.client.call(b.peer, "POST", "/echo", body=b"hello")

    assert (answer.status, answer.body, answer.sender) == (200, b"hello", "b")
    assert answer.headers["x-sender"] == "a"


async def test_the_server_hands_the_socket_over_for_a_body(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    payload = bytes(range(256)) * 4096

    async def blob(request: PeerRequest, exchange: PeerExchange) -> None:
        sock = await exchange.start(200, headers={"Content-Type": "x/y"}, content_length=len(payload))
        sent = 0
        while request.method != "HEAD" and sent < len(payload):
            sent += await sock.send(payload[sent : sent + 100_000])
        exchange.finish(sent=sent)

    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/blobs/", blob)
    for _ in range(3):
        response = await a.client.open(b.peer, "GET", "/blobs/x", headers={"Range": "bytes=0-"})
        assert response.content_length == len(payload)
        body = response.head
        while len(body) < len(payload):
            body += await response.socket.recv(min(65536, len(payload) - len(body)))
        assert body == payload
        port = response.socket.getsockname()[1]
        await response.aclose(drained=True)
        again = await a.client.open(b.peer, "HEAD", "/blobs/x", headers={})
        assert again.content_length == len(payload)
        assert again.socket.getsockname()[1] == port
        await again.aclose(drained=True)
