from __future__ import annotations

import time

import pytest
import trio

from shell.wire.endpoints import Endpoints, make_keyring
from spegel_gossip.errors import DecodeError
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.errors import PeerRefusedError, PeerUnreachableError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.response import MAX_BODY_BYTES

TWO_DAYS = 2 * 86_400.0


async def echo(request: PeerRequest, exchange: PeerExchange) -> None:
    await exchange.answer(200, headers={"X-Sender": request.sender}, body=request.body)


async def test_a_call_is_answered(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)

    answer = await a.client.call(b.peer, "POST", "/echo", body=b"hello")

    assert (answer.status, answer.body, answer.sender) == (200, b"hello", "b")
    assert answer.headers["x-sender"] == "a"


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_bodies_of_any_size_pass_both_ways(
    endpoints: Endpoints, keyring: Keyring | None, size: int
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    assert (await a.client.call(b.peer, "POST", "/echo", body=body)).body == body


async def test_a_handler_sees_method_path_query_and_address(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    seen: list[PeerRequest] = []

    async def look(request: PeerRequest, exchange: PeerExchange) -> None:
        seen.append(request)
        await exchange.answer(204)

    b.server.route("/x/", look)
    answer = await a.client.call(b.peer, "GET", "/x/a%20b?q=1%2B1&r=", headers={"Range": "bytes=0-"})

    assert (answer.status, answer.body) == (204, b"")
    [request] = seen
    assert (request.method, request.path, request.query) == ("GET", "/x/a b", {"q": "1+1", "r": ""})
    assert (request.headers["range"], request.address.host) == ("bytes=0-", "127.0.0.1")


async def test_the_longest_prefix_wins_and_unknown_paths_are_404(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)

    async def no(request: PeerRequest, exchange: PeerExchange) -> None:
        await exchange.answer(410)

    b.server.route("/", no)
    b.server.route("/echo", echo)
    a.server.route("/other", echo)

    assert (await a.client.call(b.peer, "GET", "/echo/x")).status == 200
    assert (await a.client.call(b.peer, "GET", "/ech")).status == 410
    assert (await b.client.call(a.peer, "GET", "/echo")).status == 404


async def test_connections_are_kept_and_used_again(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    ports: list[int] = []

    async def port(request: PeerRequest, exchange: PeerExchange) -> None:
        ports.append(request.address.port)
        await exchange.answer(404 if request.method == "GET" else 200, body=b"x")

    b.server.route("/port", port)
    for method in ("GET", "HEAD", "POST", "GET"):
        await a.client.call(b.peer, method, "/port", body=b"y" if method == "POST" else None)

    assert len(ports) == 4
    assert len(set(ports)) == 1


async def test_a_server_that_came_back_is_reached_through_a_new_connection(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)
    await a.client.call(b.peer, "GET", "/echo")
    await endpoints.stop(b)
    again = await endpoints.make("b", keyring, boot=2, port=b.address.port)
    again.server.route("/echo", echo)

    assert (await a.client.call(b.peer, "GET", "/echo")).status == 200


@pytest.mark.parametrize("offset", [-TWO_DAYS, TWO_DAYS])
async def test_clocks_two_days_apart_do_not_matter(endpoints: Endpoints, offset: float) -> None:
    keyring = make_keyring()
    a = await endpoints.make("a", keyring)
    b = await endpoints.make("b", keyring, clock=lambda: time.time() + offset)
    a.server.route("/echo", echo)
    b.server.route("/echo", echo)

    assert (await a.client.call(b.peer, "POST", "/echo", body=b"x")).body == b"x"
    assert (await b.client.call(a.peer, "POST", "/echo", body=b"y")).body == b"y"
    # Learned: the next one is right at once, so the kept connection is used.
    response = await a.client.open(b.peer, "GET", "/echo", headers={})
    await response.aclose(drained=True)


async def test_a_large_body_survives_the_first_contact_of_skewed_clocks(endpoints: Endpoints) -> None:
    keyring = make_keyring()
    a = await endpoints.make("a", keyring)
    b = await endpoints.make("b", keyring, clock=lambda: time.time() + TWO_DAYS)
    b.server.route("/echo", echo)
    body = bytes(MAX_BODY_BYTES // 2)

    assert (await a.client.call(b.peer, "POST", "/echo", body=body)).body == body


@pytest.mark.parametrize("theirs", ["key", "no key", "cluster", "cluster, no key"])
async def test_strangers_are_refused(endpoints: Endpoints, theirs: str) -> None:
    keyring = None if theirs == "cluster, no key" else make_keyring()
    stranger = await endpoints.make(
        "a",
        {"key": make_keyring(), "no key": None}.get(theirs, keyring),
        cluster="other" if "cluster" in theirs else "test",
    )
    b = await endpoints.make("b", keyring)
    b.server.route("/echo", echo)

    with pytest.raises(PeerRefusedError):
        await stranger.client.call(b.peer, "GET", "/echo")


async def test_an_address_that_belongs_to_another_member_now_refuses(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/", echo)

    with pytest.raises(PeerRefusedError) as caught:
        await a.client.call(Peer("c", "", (b.address,)), "GET", "/echo")

    assert caught.value.status == 403


async def test_a_seed_needs_no_name_for_gossip_only(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/", echo)
    seed = Peer("", "", (b.address,))

    answer = await a.client.call(seed, "POST", "/gossip/x", body=b"hi")

    assert (answer.body, answer.sender) == (b"hi", "b")
    with pytest.raises(PeerRefusedError):
        await a.client.call(seed, "GET", "/directory/x")


async def test_nodes_in_the_middle_of_a_key_change_understand_each_other(endpoints: Endpoints) -> None:
    old, new = make_keyring(keys=2).keys
    a = await endpoints.make("a", Keyring((old, new)))
    b = await endpoints.make("b", Keyring((new, old)))
    a.server.route("/echo", echo)
    b.server.route("/echo", echo)

    assert (await a.client.call(b.peer, "POST", "/echo", body=b"x")).body == b"x"
    assert (await b.client.call(a.peer, "POST", "/echo", body=b"x")).body == b"x"
    b.credentials.keyring = Keyring((new,))
    with pytest.raises(PeerRefusedError):
        await a.client.call(b.peer, "POST", "/echo", body=b"x")
    a.credentials.keyring = Keyring((new,))
    assert (await a.client.call(b.peer, "POST", "/echo", body=b"x")).body == b"x"


async def test_a_bug_in_a_handler_is_a_500_and_the_connection_goes_on(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)

    async def bug(request: PeerRequest, exchange: PeerExchange) -> None:
        raise ZeroDivisionError

    async def nothing(request: PeerRequest, exchange: PeerExchange) -> None:
        pass

    async def undecodable(request: PeerRequest, exchange: PeerExchange) -> None:
        raise DecodeError("no")

    async def disk(request: PeerRequest, exchange: PeerExchange) -> None:
        raise OSError(5, "Input/output error")

    b.server.route("/bug", bug)
    b.server.route("/nothing", nothing)
    b.server.route("/undecodable", undecodable)
    b.server.route("/disk", disk)

    assert (await a.client.call(b.peer, "GET", "/bug")).status == 500
    assert (await a.client.call(b.peer, "GET", "/nothing")).status == 500
    assert (await a.client.call(b.peer, "GET", "/undecodable")).status == 400
    assert (await a.client.call(b.peer, "GET", "/disk")).status == 500


async def test_the_next_address_is_tried_and_the_one_that_works_is_remembered(
    endpoints: Endpoints, keyring: Keyring | None, unused_port: int
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)
    peer = Peer("b", "", (Address("127.0.0.1", unused_port), Address("::1", unused_port), b.address))

    assert (await a.client.call(peer, "GET", "/echo")).status == 200
    assert (await a.client.call(peer, "GET", "/echo")).status == 200


async def test_a_peer_without_a_listener_is_unreachable(
    endpoints: Endpoints, keyring: Keyring | None, unused_port: int
) -> None:
    a = await endpoints.make("a", keyring)

    with pytest.raises(PeerUnreachableError, match="refused"):
        await a.client.call(Peer("b", "", (Address("127.0.0.1", unused_port),)), "GET", "/")
    with pytest.raises(PeerUnreachableError, match="no address"):
        await a.client.call(Peer("b", "", ()), "GET", "/")


async def test_a_peer_that_says_nothing_is_unreachable_after_the_timeout(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)

    async def silent(request: PeerRequest, exchange: PeerExchange) -> None:
        await trio.sleep_forever()

    b.server.route("/silent", silent)

    with pytest.raises(PeerUnreachableError, match=r"0\.05 s"):
        await a.client.call(b.peer, "GET", "/silent", timeout=0.05)
