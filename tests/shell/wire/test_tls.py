import random
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from shell.wire.certificates import Authority
from shell.wire.endpoints import make_keyring
from spegel_gossip.errors import ConfigError
from spegel_gossip.routing import Peer
from spegel_gossip.splice.pump import Pump
from spegel_gossip.swim.address import Address
from spegel_gossip.testing.blob_sources import FileReader
from spegel_gossip.wire import server, tls
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.errors import PeerUnreachableError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets
from spegel_gossip.wire.tls import PeerTls, TlsFiles

KEYRING = make_keyring()
BLOB = random.Random(7).randbytes((5 << 20) + 3)


class Bench:
    """A server that sends one blob with sendfile, and clients of it."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack, directory: Path) -> None:
        self._nursery = nursery
        self._stack = stack
        self._file = directory / "blob"
        self._file.write_bytes(BLOB)

    async def serve(self, files: TlsFiles) -> Peer:
        sockets = open_peer_sockets("127.0.0.1", 0)
        self._stack.callback(sockets.close)
        self.port = sockets.port
        listening = PeerServer(
            sockets.tcp, self._credentials("server"), clock=time.time, tls=await self.tls(files)
        )
        listening.route("/blob", self._answer)
        await self._nursery.start(listening.run)
        return Peer("server", "", (Address("127.0.0.1", sockets.port),))

    async def client(self, files: TlsFiles | None) -> PeerClient:
        made = None if files is None else await self.tls(files)
        client = PeerClient(self._credentials("client"), clock=time.time, tls=made)
        self._stack.callback(client.close)
        return client

    async def tls(self, files: TlsFiles) -> PeerTls:
        made = PeerTls(files)
        await self._nursery.start(made.run)
        return made

    async def _answer(self, request: PeerRequest, exchange: PeerExchange) -> None:
        reader = FileReader(self._file)
        sock = await exchange.start(200, headers={}, content_length=reader.size)
        exchange.finish(sent=(await Pump().send_reader(sock, reader, 0, reader.size)).moved)

    def _credentials(self, name: str) -> Credentials:
        return Credentials(name=name, boot=1, cluster="test", keyring=KEYRING)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            yield Bench(nursery, stack, tmp_path)
            nursery.cancel_scope.cancel()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def fetch(client: PeerClient, peer: Peer) -> bytes:
    response = await client.open(peer, "GET", "/blob")
    received = bytearray(response.head)
    while len(received) < response.content_length:
        data = await response.socket.recv(1 << 20)
        assert data
        received += data
    await response.aclose(drained=True)
    return bytes(received)


async def test_a_blob_arrives_over_a_connection_that_is_kept(bench: Bench, authority: Authority) -> None:
    peer = await bench.serve(authority.issue("server"))
    client = await bench.client(authority.issue("client"))

    assert [await fetch(client, peer) == BLOB for _ in range(3)] == [True] * 3


async def test_a_request_that_comes_in_one_piece_with_the_handshakes_end_is_read(
    bench: Bench, authority: Authority
) -> None:
    node = await bench.tls(authority.issue("server"))
    ours, theirs = trio.socket.socketpair()
    plain: list[bytes] = []

    async def serve() -> None:
        with await node.accept(theirs) as near:
            plain.append(await near.recv(100))

    with trio.fail_after(30), ours:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await ours.send(await _handshake(ours, authority.issue("client"), then=b"GET /blob"))

    assert plain == [b"GET /blob"]


async def _handshake(sock: trio.socket.SocketType, files: TlsFiles, *, then: bytes) -> bytes:
    """Do a client's part of a handshake; return its last words, and what follows them, unsent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            await sock.send(outgoing.read())
            incoming.write(await sock.recv(64 << 10))
        else:
            client.write(then)
            return outgoing.read()


async def test_what_travels_is_not_the_blob(bench: Bench, authority: Authority) -> None:
    peer = await bench.serve(authority.issue("server"))
    client = await bench.client(authority.issue("client"))
    seen = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxied = Peer(peer.name, "", (Address("127.0.0.1", listener.getsockname()[1]),))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tap, listener, bench.port, seen)
            assert await fetch(client, proxied) == BLOB
            nursery.cancel_scope.cancel()

    assert len(seen) > len(BLOB)
    assert BLOB[1000:1032] not in seen


@pytest.mark.parametrize("wrong", ["foreign", "none"])
async def test_who_has_no_certificate_of_the_authority_is_not_served(
    wrong: str, bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    stranger = Authority(tmp_path / "foreign").issue("client")
    files = None if wrong == "none" else TlsFiles(stranger.certificate, stranger.key, authority.path)
    peer = await bench.serve(authority.issue("server"))
    client = await bench.client(files)

    with trio.fail_after(10), pytest.raises(PeerUnreachableError):
        await fetch(client, peer)

    assert await fetch(await bench.client(authority.issue("friend")), peer) == BLOB


async def test_strangers_who_begin_no_handshake_keep_no_member_out(
    bench: Bench, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    peer = await bench.serve(authority.issue("server"))
    strangers = [await trio.open_tcp_stream("127.0.0.1", bench.port) for _ in range(5)]

    assert await fetch(await bench.client(authority.issue("client")), peer) == BLOB

    for stream in strangers:
        await stream.aclose()


async def test_a_server_of_another_authority_is_not_asked(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    stranger = Authority(tmp_path / "foreign").issue("server")
    peer = await bench.serve(TlsFiles(stranger.certificate, stranger.key, authority.path))
    client = await bench.client(authority.issue("client"))

    with pytest.raises(PeerUnreachableError, match="TLS"):
        await fetch(client, peer)


async def test_renewed_certificates_are_used_and_broken_ones_are_not(
    bench: Bench, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 0.05)
    files = authority.issue("server")
    await bench.serve(files)
    context = ssl.create_default_context(cafile=str(authority.path))
    context.check_hostname = False
    ours = authority.issue("client")
    context.load_cert_chain(ours.certificate, ours.key)

    async def shown() -> int:
        stream = await trio.open_tcp_stream("127.0.0.1", bench.port)
        async with trio.SSLStream(stream, context, https_compatible=True) as encrypted:
            await encrypted.do_handshake()
            return int(encrypted.getpeercert()["serialNumber"], 16)

    first = await shown()
    authority.issue("server")
    with trio.fail_after(10):
        while (second := await shown()) == first:  # noqa: ASYNC110 # seen from outside only
            await trio.sleep(0.05)
    files.certificate.write_text("nonsense")
    await trio.sleep(0.3)

    assert await shown() == second


async def test_a_peer_that_never_agrees_is_given_up(
    bench: Bench, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT", 0.2)
    client = await bench.client(authority.issue("client"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("server", "", (Address("127.0.0.1", silent.getsockname()[1]),))

        with trio.fail_after(5), pytest.raises(PeerUnreachableError, match="no TLS within"):
            await fetch(client, peer)


def test_files_that_do_not_fit_are_a_wrong_setting(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue("a"), authority.issue("b")

    with pytest.raises(ConfigError, match="--peer-tls-key"):
        PeerTls(TlsFiles(good.certificate, other.key, good.authority))
    with pytest.raises(ConfigError, match="--peer-tls-ca"):
        PeerTls(TlsFiles(good.certificate, good.key, tmp_path / "missing"))
    with pytest.raises(ConfigError, match="--peer-tls-cert"):
        PeerTls(TlsFiles(tmp_path / "missing", good.key, good.authority))


async def _tap(listener: socket.socket, port: int, seen: bytearray) -> None:
    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            seen.extend(data)
            await sink.send_all(data)

    with trio.socket.from_stdlib_socket(listener.dup()) as accepting:
        sock, _ = await accepting.accept()
    async with (
        trio.SocketStream(sock) as near,
        await trio.open_tcp_stream("127.0.0.1", port) as far,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(carry, near, far)
        nursery.start_soon(carry, far, near)
