"""A plain HTTP/1.1 client for tests: sends what it is told, normalizes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import h11
import trio


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as it came."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    body: bytes
    is_cut: bool = False
    """Whether the connection ended before the body did."""

    def json(self) -> Any:  # noqa: ANN401 - a document of whatever shape
        """Return the body as a document."""
        return json.loads(self.body)


class HttpClient:
    """One connection, kept alive from request to request as long as the server does."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Connect to a server on loopback."""
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Reply:
        """Send a request and read its answer to the end."""
        if self._connection.our_state is h11.DONE:
            self._connection.start_next_cycle()
        all_headers = [("Host", "registry.test"), *headers]
        if body:
            all_headers.append(("Content-Length", str(len(body))))
        request = h11.Request(method=method, target=target, headers=all_headers)
        await self._send(request)
        if body:
            await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())
        return await self._read()

    async def begin(self, target: str) -> None:
        """Send a GET and read no more than the first bytes of its answer; then only `aclose` is left."""
        await self._send(h11.Request(method="GET", target=target, headers=[("Host", "registry.test")]))
        await self._stream.receive_some(1)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            await self._stream.send_all(data)

    async def _read(self) -> Reply:
        head: h11.Response | None = None
        body = bytearray()
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError:
                if head is None:
                    raise
                return _reply(head, body, is_cut=True)
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._stream.receive_some())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _reply(head, body, is_cut=False)


def _reply(head: h11.Response, body: bytearray, *, is_cut: bool) -> Reply:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Reply(head.status_code, headers, bytes(body), is_cut)
