"""A small API server over real HTTP, which says what a test has written for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[["Handler"], None]


def slice_of(name: str, *addresses: str, version: int = 1, kind: str = "IPv4") -> dict[str, Any]:
    """One EndpointSlice, ready and not ready endpoints alike."""
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "addressType": kind,
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": number % 2 == 0}}
            for number, address in enumerate(addresses)
        ],
    }


def listing(*slices: dict[str, Any], version: int = 1) -> Answer:
    """A list, as an API server answers."""
    return body(
        {
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": str(version)},
            "items": list(slices),
        }
    )


def body(document: object, status: int = 200) -> Answer:
    """Any JSON."""
    return raw(json.dumps(document).encode(), status)


def raw(content: bytes, status: int = 200) -> Answer:
    """Any bytes."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def changes(*events: tuple[str, dict[str, Any]], then: Answer | None = None) -> Answer:
    """A watch: these changes, and then its end, or whatever `then` does."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for kind, item in events:
            line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            handler.wfile.flush()
        if then is not None:
            then(handler)
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def hang(handler: Handler) -> None:
    """Say nothing until the test is over, as behind a policy that drops packets."""
    handler.api.over.wait(30)


class ApiServer(ThreadingHTTPServer):
    """Answers lists and watches from two scripts; the last entry of each is for ever."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lists: Sequence[Answer] = [listing()]
        self.watches: Sequence[Answer] = [hang]
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._counts = {"list": 0, "watch": 0}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def next(self, kind: str) -> Answer:
        """The next entry of a script."""
        script = self.lists if kind == "list" else self.watches
        with self._lock:
            number = self._counts[kind]
            self._counts[kind] += 1
        return script[min(number, len(script) - 1)]


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> ApiServer:
        """The server that it came to."""
        assert isinstance(self.server, ApiServer)
        return self.server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.api.asked.append((parts.path, query))
        self.api.next("watch" if "watch" in query else "list")(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def running(server: ApiServer) -> Iterator[ApiServer]:
    """Let it answer until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
