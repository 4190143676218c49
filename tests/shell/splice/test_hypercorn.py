from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import h11
import pytest
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Response, request
from quart_trio import QuartTrio

from spegel_gossip.content import BlobReader
from spegel_gossip.fetching import BlobStream
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.extension import find_cancel_when_gone, find_send_blob, is_available
from spegel_gossip.splice.plain import read_blob
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.testing.blob_sources import FileReader, MemoryReader, ScriptedSource, ScriptedStream, Then

Blob = Callable[[int], bytes]
Source = BlobReader | BlobStream
Serving = Callable[..., AbstractAsyncContextManager[int]]

MIB = 1 << 20
SIZE = 3 * MIB + 11


class BlobApp:
    """The smallest ASGI application that sends one blob; remembers how each delivery ended."""

    def __init__(
        self, open_source: Callable[[], Source], size: int, *, offset: int = 0, plain: bool = False
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.begun = trio.Event()
        self._open_source = open_source
        self._size = size
        self._offset = offset
        self._plain = plain

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        if scope["path"] == "/small":
            await self._answer(send, b"small")
            return
        self.begun.set()
        headers = [(b"content-length", b"%d" % self._size), (b"x-blob", b"yes")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        send_blob = find_send_blob(scope)
        if send_blob is not None and not self._plain:
            self.deliveries.append(await send_blob(self._open_source(), self._offset, self._size))
        elif scope["method"] != "HEAD":
            async for chunk in read_blob(self._open_source(), self._offset, self._size):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _answer(send: ASGISendCallable, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Client:
    """An HTTP/1.1 client that shows what a connection did, to the byte and to the FIN."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._h11 = h11.Connection(h11.CLIENT)

    async def request(
        self, method: str = "GET", path: str = "/", *, headers: Mapping[str, str] | None = None
    ) -> tuple[h11.Response, bytes]:
        await self.begin(method, path, headers=headers)
        response = await self._event()
        assert isinstance(response, h11.Response)
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        return response, bytes(body)

    async def begin(
        self, method: str = "GET", path: str = "/", *, headers: Mapping[str, str] | None = None
    ) -> None:
        sent = [("host", "test"), *(headers or {}).items()]
        data = self._h11.send(h11.Request(method=method, target=path, headers=sent))
        await self.sock.send(data)
        self._h11.send(h11.EndOfMessage())

    async def raw(self) -> bytes:
        """Return everything up to the FIN; a reset raises."""
        received = bytearray()
        while data := await self.sock.recv(256 << 10):
            received += data
        return bytes(received)

    async def _event(self) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.sock.recv(256 << 10))
        return event


@pytest.fixture
def serving(nursery: trio.Nursery) -> Serving:
    @asynccontextmanager
    async def run(app: ASGIFramework, *, trouble: str = "", **settings: int) -> AsyncIterator[int]:
        shutdown = trio.Event()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def served(*, task_status: trio.TaskStatus[None]) -> None:
            await serve(
                app,
                listeners,
                ServerConfig(**settings),
                pump=Pump(),
                trouble=trouble,
                shutdown_trigger=shutdown.wait,
                task_status=task_status,
            )
            stopped.set()

        stopped = trio.Event()
        await nursery.start(served)
        try:
            yield listeners[0].socket.getsockname()[1]
        finally:
            shutdown.set()
        with trio.fail_after(60):
            await stopped.wait()

    return run


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    sock = trio.socket.socket()
    with sock:
        await sock.connect(("127.0.0.1", port))
        yield Client(sock)


@pytest.mark.parametrize("size", [0, 1, 65_537, SIZE])
@pytest.mark.parametrize("plain", [False, True], ids=["extension", "plain"])
async def test_a_blob_arrives_whole_and_the_connection_lives_on(
    size: int, plain: bool, serving: Serving, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(size))
    app = BlobApp(lambda: FileReader(tmp_path / "blob"), size, plain=plain)

    async with serving(app) as port, connected(port) as client:
        answers = [await client.request() for _ in range(3)]
        _, small = await client.request(path="/small")

    assert [body == blob(size) for _, body in answers] == [True] * 3
    assert small == b"small"


async def test_the_extension_and_plain_streaming_send_the_same_answer(
    serving: Serving, blob: Blob, nursery: trio.Nursery
) -> None:
    data = blob(SIZE)
    script = [ScriptedSource(100_000, Then.CLOSE, head=7), ScriptedSource(5, Then.STALL), ScriptedSource()]
    answers = []
    for plain in (False, True):
        app = BlobApp(lambda: ScriptedStream(data, script, nursery), SIZE, plain=plain)
        async with serving(app) as port, connected(port) as client:
            response, body = await client.request()
            headers = [(name, value) for name, value in response.headers if name != b"date"]
            answers.append((response.status_code, headers, body))

    assert answers[0] == answers[1]
    assert answers[0][2] == data


async def test_a_head_request_gets_the_headers_and_no_body(serving: Serving, blob: Blob) -> None:
    readers = [MemoryReader(blob(SIZE)), MemoryReader(blob(SIZE))]
    opened = iter(readers)
    app = BlobApp(lambda: next(opened), SIZE)

    async with serving(app) as port, connected(port) as client:
        head, nothing = await client.request("HEAD")
        _, body = await client.request("GET")

    assert (dict(head.headers)[b"content-length"], nothing) == (b"%d" % SIZE, b"")
    assert body == blob(SIZE)
    assert [reader.is_closed for reader in readers] == [True, True]


@pytest.mark.parametrize("given", [0, 1, 70_000])
async def test_a_body_that_ends_short_ends_with_fin_and_is_no_clean_end(
    given: int, serving: Serving, blob: Blob, nursery: trio.Nursery
) -> None:
    script = [ScriptedSource(given, Then.CLOSE)]
    app = BlobApp(lambda: ScriptedStream(blob(SIZE), script, nursery), SIZE)

    async with serving(app) as port, connected(port) as client:
        await client.begin()
        head, _, body = (await client.raw()).partition(b"\r\n\r\n")

    assert b"content-length: %d" % SIZE in head.lower()
    assert body == blob(SIZE)[:given]
    assert app.deliveries[0].ending is Ending.SOURCE_FAILED


async def test_unread_input_does_not_turn_the_fin_into_a_reset(
    serving: Serving, blob: Blob, nursery: trio.Nursery
) -> None:
    script = [ScriptedSource(200_000, Then.STALL)]
    app = BlobApp(lambda: ScriptedStream(blob(SIZE), script, nursery), SIZE)

    async with serving(app) as port, connected(port) as client:
        await client.begin()
        # Pipelined behind the first: nobody will ever read it.
        await client.sock.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 200)
        received = await client.raw()

    assert received.endswith(blob(SIZE)[:200_000])


async def test_a_client_that_closes_early_ends_the_handler(serving: Serving, blob: Blob) -> None:
    reader = MemoryReader(blob(48 * MIB))
    app = BlobApp(lambda: reader, 48 * MIB)

    async with serving(app) as port:
        async with connected(port) as client:
            await client.begin()
            await client.sock.recv(4096)
        async with connected(port) as client:
            _, small = await client.request(path="/small")

    # The server is stopped: the handler of the first connection is over.
    assert app.deliveries[0].ending is Ending.CLIENT_GONE
    assert reader.is_closed
    assert small == b"small"


async def test_a_length_other_than_announced_is_misuse(serving: Serving, blob: Blob) -> None:
    reader = MemoryReader(blob(100))
    raised: list[RuntimeError] = []

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        send_blob = find_send_blob(scope)
        assert send_blob is not None
        try:
            await send_blob(reader, 0, 99)
        except RuntimeError as exc:
            raised.append(exc)
        await send({"type": "http.response.body", "body": blob(100), "more_body": False})

    async with serving(app) as port, connected(port) as client:
        await client.request()

    assert "99 bytes" in str(raised[0])
    assert reader.is_closed


async def test_one_connection_too_many_is_refused_at_once(serving: Serving, blob: Blob) -> None:
    app = BlobApp(lambda: MemoryReader(blob(10)), 10)

    async with serving(app, max_connections=1) as port, connected(port) as first:
        await first.request()
        async with connected(port) as second:
            refused = await second.raw()
        _, still_served = await first.request()

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert still_served == blob(10)


async def test_a_connection_that_the_client_closed_gives_its_place_back(serving: Serving, blob: Blob) -> None:
    app = BlobApp(lambda: MemoryReader(blob(10)), 10)

    async with serving(app, max_connections=1) as port:
        async with connected(port) as first:
            await first.request()
        status = 503
        with trio.fail_after(10):  # and not only when its keep-alive time is over
            while status == 503:
                async with connected(port) as second:
                    status = (await second.request())[0].status_code

    assert status == 200


async def test_a_bug_in_the_handler_ends_its_connection_only(serving: Serving, blob: Blob) -> None:
    reader = MemoryReader(blob(10), fail_at=0, failure=ZeroDivisionError("a bug"))
    app = BlobApp(lambda: reader, 10)

    async with serving(app) as port:
        async with connected(port) as client:
            await client.begin()
            received = await client.raw()
        async with connected(port) as client:
            _, small = await client.request(path="/small")

    assert received.endswith(b"\r\n\r\n")
    assert reader.is_closed
    assert small == b"small"


async def test_the_last_answer_of_a_connection_says_so_and_arrives_whole(
    serving: Serving, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(SIZE))
    app = BlobApp(lambda: FileReader(tmp_path / "blob"), SIZE)

    async with serving(app, max_requests=4) as port:
        for _ in range(2):
            async with connected(port) as client:
                answers = [await client.request(path=path) for path in ("/", "/small", "/small", "/")]
                # The FIN comes after the answer, and no reset.
                assert await client.raw() == b""
            bodies = [body for _, body in answers]
            assert bodies == [blob(SIZE), b"small", b"small", blob(SIZE)]
            says_so = [(b"connection", b"close") in list(response.headers) for response, _ in answers]
            assert says_so == [False, False, False, True]


async def test_a_connection_carries_as_many_requests_as_there_are(serving: Serving) -> None:
    # nginx, for one, closes after a thousand.
    app = BlobApp(lambda: MemoryReader(b""), 0)

    async with serving(app) as port, connected(port) as client:
        for _ in range(1_500):
            _, body = await client.request(path="/small")
            assert body == b"small"


async def test_who_asks_for_http_2_is_answered_in_http_1(serving: Serving, blob: Blob) -> None:
    data = blob(SIZE)
    app = BlobApp(lambda: MemoryReader(data), SIZE)

    async with serving(app) as port, connected(port) as client:
        upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": ""}
        response, body = await client.request(headers=upgrade)
        _, small = await client.request(path="/small")

    assert (response.status_code, response.http_version, body, small) == (200, b"1.1", data, b"small")
    assert app.deliveries == [Delivery(SIZE, Ending.COMPLETE)]


async def test_who_takes_http_2_for_granted_hears_that_it_is_not_spoken(serving: Serving) -> None:
    settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

    async with serving(BlobApp(lambda: MemoryReader(b""), 0)) as port, connected(port) as client:
        await client.sock.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        answer = await client.raw()

    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"connection: close" in answer.lower()


async def test_an_answer_begun_while_the_server_stops_says_that_it_is_the_last(
    serving: Serving, nursery: trio.Nursery
) -> None:
    asked, may_answer = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        asked.set()
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    async def answer_once_stopping(idle: Client) -> None:
        assert await idle.raw() == b""
        may_answer.set()

    async with AsyncExitStack() as clients:
        async with serving(app) as port:
            idle = await clients.enter_async_context(connected(port))
            nursery.start_soon(answer_once_stopping, idle)
            client = await clients.enter_async_context(connected(port))
            await client.begin()
            await asked.wait()
        received = await client.raw()

    assert b"connection: close" in received.lower()
    assert received.endswith(b"ok")


async def test_a_shutdown_lets_a_running_answer_finish_and_ends_idle_connections(
    serving: Serving, blob: Blob, nursery: trio.Nursery
) -> None:
    app = BlobApp(lambda: MemoryReader(blob(48 * MIB)), 48 * MIB)
    finished = trio.Event()
    received: list[bytes] = []

    async def download(client: Client) -> None:
        received.append((await client.request())[1])
        finished.set()

    async with AsyncExitStack() as clients:
        async with serving(app) as port:
            idle = await clients.enter_async_context(connected(port))
            await idle.request(path="/small")
            busy = await clients.enter_async_context(connected(port))
            nursery.start_soon(download, busy)
            await app.begun.wait()
        # Leaving the block began the shutdown and waited for the server to stop.
        assert await idle.raw() == b""
        await finished.wait()

    assert received[0] == blob(48 * MIB)
    with pytest.raises(OSError, match="refused"):
        async with connected(port):
            pass


async def test_what_outlasts_the_drain_is_ended_by_fin(
    serving: Serving, blob: Blob, nursery: trio.Nursery
) -> None:
    script = [ScriptedSource(1000, Then.STALL)]
    app = BlobApp(lambda: ScriptedStream(blob(SIZE), script, nursery, stall_timeout=60), SIZE)
    async with AsyncExitStack() as clients:
        async with serving(app, drain_timeout=0) as port:
            client = await clients.enter_async_context(connected(port))
            await client.begin()
            await app.begun.wait()
        received = await client.raw()

    assert received.endswith(blob(SIZE)[:1000])


async def test_an_answer_begun_and_left_is_ended_by_fin_after_its_head(serving: Serving) -> None:
    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})

    async with serving(app) as port, connected(port) as client:
        await client.begin()
        received = await client.raw()

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")


async def test_requests_sent_ahead_are_answered_in_order(
    serving: Serving, blob: Blob, tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(blob(70_000))
    app = BlobApp(lambda: FileReader(tmp_path / "blob"), 70_000)

    async with serving(app) as port, connected(port) as client:
        for path, more in (("/small", ""), ("/", ""), ("/small", ""), ("/", "Connection: close\r\n")):
            await client.sock.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n{more}\r\n".encode())
        received = await client.raw()

    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 \r\n")[1:]]
    assert bodies == [b"small", blob(70_000), b"small", blob(70_000)]


@pytest.mark.parametrize("has_body", [False, True])
async def test_a_handler_without_a_nursery_is_told_that_its_client_left(
    serving: Serving, has_body: bool
) -> None:
    found: list[bool] = []
    waiting, cancelled = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        cancel_when_gone = find_cancel_when_gone(scope)
        found.append(cancel_when_gone is not None)
        with trio.CancelScope() as looking:
            if cancel_when_gone is None:
                return
            cancel_when_gone(looking)
            waiting.set()
            await trio.sleep_forever()
        cancelled.set()

    async with serving(app) as port:
        async with connected(port) as client:
            body = b"Content-Length: 1\r\n\r\nx" if has_body else b"\r\n"
            await client.sock.send(b"GET / HTTP/1.1\r\nHost: test\r\n" + body)
            if has_body:  # which must be received, so there is a task to be told by anyway
                await client.raw()
            else:
                await waiting.wait()
        if not has_body:
            with trio.fail_after(10):
                await cancelled.wait()

    assert found == [not has_body]


async def test_a_quart_handler_sends_a_blob_from_its_body_iterator(serving: Serving, blob: Blob) -> None:
    app = QuartTrio(__name__)
    deliveries: list[Delivery] = []

    @app.route("/blob")
    async def get_blob() -> Response:
        scope = request.scope
        assert is_available(scope)

        async def body() -> AsyncIterator[bytes]:
            send_blob = find_send_blob(scope)
            assert send_blob is not None
            deliveries.append(await send_blob(MemoryReader(blob(SIZE)), 0, SIZE))
            if not deliveries:
                yield b""  # never: this makes it a generator, which is what Quart iterates

        response = Response(body(), headers={"Content-Length": str(SIZE)})
        response.timeout = None
        return response

    async with serving(app) as port, connected(port) as client:
        first = await client.request(path="/blob")
        second = await client.request(path="/blob")
        missing, _ = await client.request(path="/nothing")

    assert first[1] == second[1] == blob(SIZE)
    assert missing.status_code == 404
    assert [delivery.is_complete for delivery in deliveries] == [True, True]


async def test_a_hundred_downloads_at_once_all_arrive(serving: Serving, blob: Blob, tmp_path: Path) -> None:
    # Made once: a hundred times is more than a second of the loop at once, twenty on a busy machine, and the
    # server gives a client up that reads nothing for as long.
    expected = blob(SIZE)
    (tmp_path / "blob").write_bytes(expected)
    app = BlobApp(lambda: FileReader(tmp_path / "blob"), SIZE)
    arrived: list[bool] = []

    async def download(port: int) -> None:
        async with connected(port) as client:
            arrived.append((await client.request())[1] == expected)

    async with serving(app) as port, trio.open_nursery() as downloads:
        for _ in range(100):
            downloads.start_soon(download, port)

    assert arrived == [True] * 100


def test_a_scope_of_another_server_has_no_extension() -> None:
    assert not is_available({"type": "http"})
    assert not is_available({"type": "http", "extensions": None})
    assert not is_available({"type": "http", "extensions": {"http.response.push": {}}})


async def test_a_hypercorn_that_does_not_fit_serves_the_same_bytes_through_python(
    serving: Serving, blob: Blob
) -> None:
    app = BlobApp(lambda: MemoryReader(blob(SIZE)), SIZE)

    async with serving(app, trouble="hypercorn 99 lacks something") as port, connected(port) as client:
        for _ in range(2):
            _, body = await client.request()
            assert body == blob(SIZE)

    assert app.deliveries == []  # nobody sent a blob for it
