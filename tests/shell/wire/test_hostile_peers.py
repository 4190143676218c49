from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from shell.wire.endpoints import Endpoint, Endpoints, make_keyring
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.wire import server as server_module
from spegel_gossip.wire.errors import PeerProtocolError, PeerRefusedError, PeerUnreachableError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.response import MAX_BODY_BYTES


async def echo(request: PeerRequest, exchange: PeerExchange) -> None:
    await exchange.answer(200, body=request.body)


async def converse_raw(to: Endpoint, data: bytes) -> bytes:
    """Send bytes to the peer port and return all that comes until it closes."""
    with trio.fail_after(5):
        stream = await trio.open_tcp_stream(to.address.host, to.address.port)
        async with stream:
            answer = b""
            try:
                await stream.send_all(data)
                async for chunk in stream:
                    answer += chunk
            except trio.BrokenResourceError:
                pass  # it closed before it had read everything
            return answer


async def is_alive(a: Endpoint, b: Endpoint) -> bool:
    return (await a.client.call(b.peer, "POST", "/echo", body=b"x")).body == b"x"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /blobs/x SMTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000,
        b"a" * 2_000_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        b"GET http://[broken/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nSpegel-Gossip-Sender: a\r\nSpegel-Gossip-Sender: b\r\n\r\n",
    ],
    ids=range(11),
)
async def test_garbage_ends_its_connection_and_nothing_else(
    endpoints: Endpoints, keyring: Keyring | None, data: bytes
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/", echo)

    answer = await converse_raw(b, data)

    assert answer == b"" or answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
    assert await is_alive(a, b)


async def test_an_unsigned_request_is_a_401_whatever_it_asks(endpoints: Endpoints) -> None:
    b = await endpoints.make("b", make_keyring())
    b.server.route("/", echo)

    answer = await converse_raw(b, b"GET /blobs/sha256:00 HTTP/1.1\r\nHost: b\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer.lower()


class Tap:
    """Passes one connection on to a peer and records both directions."""

    def __init__(self, to: Endpoint) -> None:
        self.requests = b""
        self._to = to
        self._listener = trio.socket.socket()

    async def run(self, *, task_status: trio.TaskStatus[Peer]) -> None:
        with self._listener:
            await self._listener.bind(("127.0.0.1", 0))
            self._listener.listen()
            address = Address(*self._listener.getsockname())
            task_status.started(Peer(self._to.name, "", (address,)))
            near, _ = await self._listener.accept()
            with near, trio.socket.socket() as far:
                await far.connect((self._to.address.host, self._to.address.port))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, near, far)
                    while data := await far.recv(65536):
                        await near.send(data)
                    near.shutdown(socket.SHUT_WR)
                    nursery.cancel_scope.cancel()

    async def _pass_on(self, near: trio.socket.SocketType, far: trio.socket.SocketType) -> None:
        while data := await near.recv(65536):
            self.requests += data
            await far.send(data)


async def record(a: Endpoint, b: Endpoint, *, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a good request of `a` to `b`."""
    tap = Tap(b)
    async with trio.open_nursery() as nursery:
        peer = await nursery.start(tap.run)
        await a.client.call(peer, "POST", "/echo", body=body, headers=headers or {})
        nursery.cancel_scope.cancel()
    return tap.requests


async def test_a_recorded_request_works_once(endpoints: Endpoints) -> None:
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)

    recorded = await record(a, b, body=b"x")

    assert (await converse_raw(b, recorded)).startswith(b"HTTP/1.1 401")


async def test_a_recorded_request_does_not_work_elsewhere(endpoints: Endpoints) -> None:
    keyring = make_keyring()
    a, b, c = [await endpoints.make(name, keyring) for name in "abc"]
    b.server.route("/echo", echo)
    c.server.route("/echo", echo)

    recorded = await record(a, b, body=b"x")

    assert (await converse_raw(c, recorded)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("part", [b"bytes=0-9", b"POST /echo", b"host"])
async def test_a_request_that_was_changed_on_the_way_is_refused(endpoints: Endpoints, part: bytes) -> None:
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)
    # Recorded with a server of the same name, so that the nonce is new to this one.
    twin = await endpoints.make("b", keyring)
    twin.server.route("/", echo)
    recorded = await record(a, b, body=b"x", headers={"Range": "bytes=0-9"})
    changed = {
        b"bytes=0-9": recorded.replace(b"bytes=0-9", b"bytes=0-1"),
        b"POST /echo": recorded.replace(b"POST /echo", b"POST /else"),
        b"host": recorded,  # unchanged: this one must pass, or the others prove nothing
    }[part]

    answer = await converse_raw(twin, changed + b"GET / HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200" if part == b"host" else b"HTTP/1.1 401")


async def test_a_body_that_was_changed_on_the_way_is_refused(endpoints: Endpoints) -> None:
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)
    twin = await endpoints.make("b", keyring)
    twin.server.route("/", echo)
    recorded = await record(a, b, body=b"x" * 100)

    changed = recorded[:-1] + bytes([recorded[-1] ^ 1])

    assert (await converse_raw(twin, changed)).startswith(b"HTTP/1.1 401")


async def test_a_body_that_is_too_large_is_refused(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/echo", echo)

    try:
        status = (await a.client.call(b.peer, "POST", "/echo", body=bytes(MAX_BODY_BYTES + 1))).status
    except PeerProtocolError as exc:  # with a key, a refusal in clear is no answer
        assert keyring is not None
        status = 413 if "413" in exc.reason else 0

    assert status == 413
    assert await is_alive(a, b)


async def test_a_stranger_who_says_nothing_is_hung_up_on(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STRANGER_TIMEOUT", 0.01)
    b = await endpoints.make("b", make_keyring())

    assert await converse_raw(b, b"GET / HT") == b""


async def test_connections_that_are_served_are_bounded(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    asked, may_answer = trio.Semaphore(0), trio.Event()

    async def slow(request: PeerRequest, exchange: PeerExchange) -> None:
        asked.release()
        await may_answer.wait()
        await exchange.answer(200, body=request.body)

    b.server.route("/", echo)
    b.server.route("/slow", slow)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(a.client.call, b.peer, "GET", "/slow")
            await asked.acquire()

        assert await converse_raw(b, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n") == b""
        may_answer.set()

    assert await is_alive(a, b)


async def test_strangers_who_say_nothing_keep_no_member_out(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/", echo)
    strangers = [await trio.open_tcp_stream("127.0.0.1", b.address.port) for _ in range(5)]

    assert await is_alive(a, b)

    with trio.fail_after(5):
        assert await strangers[0].receive_some(1) == b""
    for stream in strangers:
        await stream.aclose()


async def test_connections_that_members_keep_leave_room_for_more_members(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    keyring = make_keyring()
    b = await endpoints.make("b", keyring)
    b.server.route("/", echo)
    members = [await endpoints.make(f"m{number}", keyring) for number in range(5)]

    # Twice: who finds its kept connection closed asks over a new one.
    for member in (*members, *members):
        assert await is_alive(member, b)


async def test_a_stranger_makes_room_before_a_member_does(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    b.server.route("/ports", tell_port)
    port = (await a.client.call(b.peer, "GET", "/ports")).body
    first, second = [await trio.open_tcp_stream("127.0.0.1", b.address.port) for _ in range(2)]

    with trio.fail_after(5):
        assert await first.receive_some(1) == b""

    assert (await a.client.call(b.peer, "GET", "/ports")).body == port
    for stream in (first, second):
        await stream.aclose()


async def tell_port(request: PeerRequest, exchange: PeerExchange) -> None:
    """Answer with what tells the connections of one client apart."""
    await exchange.answer(200, body=str(request.address.port).encode())


@asynccontextmanager
async def canned(answer: bytes) -> AsyncIterator[Peer]:
    """A peer that reads a little and gives the same answer to everybody."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield Peer("b", "", (Address(*listeners[0].socket.getsockname()),))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01\x02" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nmore than two",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nSpegel-Gossip-Sender: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nSpegel-Gossip-Sender: b\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSpegel-Gossip-Sender: c\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
        b"HTTP/1.1 200 O",
    ],
    ids=range(11),
)
async def test_nonsense_from_a_server_is_a_protocol_error(
    endpoints: Endpoints, keyring: Keyring | None, answer: bytes
) -> None:
    a = await endpoints.make("a", keyring)

    async with canned(answer) as peer:
        with pytest.raises((PeerProtocolError, PeerUnreachableError)):
            await a.client.call(peer, "GET", "/")


async def test_an_answer_in_clear_is_not_believed_where_there_is_a_key(endpoints: Endpoints) -> None:
    a = await endpoints.make("a", make_keyring())

    async with canned(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSpegel-Gossip-Sender: b\r\n\r\nok") as peer:
        with pytest.raises(PeerProtocolError, match="in clear"):
            await a.client.call(peer, "GET", "/")


async def test_a_time_that_is_not_signed_moves_no_clock(endpoints: Endpoints) -> None:
    a = await endpoints.make("a", make_keyring())
    answer = (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nSpegel-Gossip-Time: 1000\r\n"
        b"Spegel-Gossip-Signature: " + b"0" * 64 + b"\r\n\r\n"
    )

    async with canned(answer) as peer:
        with pytest.raises(PeerRefusedError):
            await a.client.call(peer, "GET", "/")


async def test_a_peer_that_hangs_up_without_a_word_is_unreachable(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a = await endpoints.make("a", keyring)

    async with canned(b"") as peer:
        with pytest.raises(PeerUnreachableError):
            await a.client.call(peer, "GET", "/")
