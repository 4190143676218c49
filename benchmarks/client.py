"""A client that is no bottleneck: bytes are dropped in the kernel (MSG_TRUNC), answers read by hand.

It costs a tenth of what it takes to send the bytes, where a client that copies them would be the slowest
program of the run and make all servers look alike.
"""

from __future__ import annotations

import hashlib
import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

READ_BYTES = 4 << 20
LOW_WATER = 256 << 10
"""Bytes that must have come before the client wakes: else it is woken for every segment."""

TIMEOUT = 120.0


@dataclass(frozen=True)
class Answer:
    """A whole small answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept connection to one server."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = host
        self._low_water = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, path: str, *, method: str = "GET", count: int = 0) -> None:
        """Send a request, for the first `count` bytes if that is not 0."""
        more = f"Range: bytes=0-{count - 1}\r\n" if count else ""
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{more}\r\n".encode())

    def head(self) -> tuple[int, dict[str, str], bytes]:
        """Read an answer's head; the third is what came of the body along with it."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.socket.recv(16 << 10)
            if not more:
                raise ConnectionError(f"closed after {data[:100]!r}")
            data += more
        text, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers, rest

    def get(self, path: str, *, method: str = "GET") -> Answer:
        """Ask and read the whole answer."""
        self.ask(path, method=method)
        return self.answer(has_body=method != "HEAD")

    def answer(self, *, has_body: bool = True) -> Answer:
        """Read a whole answer."""
        status, headers, body = self.head()
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(body) < length:
            more = self.socket.recv(length - len(body))
            if not more:
                raise ConnectionError(f"ended {length - len(body)} bytes early")
            body += more
        return Answer(status, headers, body)

    def drain(self, path: str) -> int:
        """Ask, and drop the body in the kernel; return its length."""
        self.ask(path)
        status, headers, rest = self.head()
        if status != 200:
            raise ConnectionError(f"{path} answered {status}")
        length = int(headers["content-length"])
        left = length - len(rest)
        buffer = bytearray(READ_BYTES)
        while left > 0:
            self.wake_for(left)
            moved = self.socket.recv_into(buffer, min(left, READ_BYTES), socket.MSG_TRUNC)
            if moved == 0:
                raise ConnectionError(f"{path} ended {left} bytes early")
            left -= moved
        self.wake_for(1)
        return length

    def wake_for(self, left: int) -> None:
        """Be woken when much has come, or all that is left."""
        low_water = LOW_WATER if left >= LOW_WATER else 1
        if low_water != self._low_water:
            self._low_water = low_water
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)


def drain_all(port: int, paths: Sequence[str], *, count: int = 0, host: str = "127.0.0.1") -> list[float]:
    """Get all of these at once, each over a connection of its own; return when each was done, in seconds.

    Args:
        port: of the server
        paths: one for each client
        count: bytes of each, from its beginning; 0 for all
        host: of the server
    """
    selector = selectors.DefaultSelector()
    buffer = bytearray(READ_BYTES)
    started_at = time.monotonic()
    done: list[float] = []
    connections = [Connection(host, port) for _ in paths]
    left: dict[Connection, int] = {}
    for connection, path in zip(connections, paths, strict=True):
        connection.ask(path, count=count)
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    while selector.get_map():
        for key, _ in selector.select(TIMEOUT):
            connection = key.data
            if connection not in left:
                status, headers, rest = connection.head()
                if status != (206 if count else 200):
                    raise ConnectionError(f"answered {status}")
                left[connection] = int(headers["content-length"]) - len(rest)
            else:
                moved = connection.socket.recv_into(
                    buffer, min(left[connection], READ_BYTES), socket.MSG_TRUNC
                )
                if moved == 0:
                    raise ConnectionError(f"ended {left[connection]} bytes early")
                left[connection] -= moved
            connection.wake_for(left[connection])
            if left[connection] == 0:
                done.append(time.monotonic() - started_at)
                selector.unregister(connection.socket)
                connection.socket.close()
    return done


def hold_load(port: int, paths: Sequence[str], *, seconds: float, host: str = "127.0.0.1") -> int:
    """Get all of these at once, each again when it is done, until the time is up; return the bytes moved."""
    selector = selectors.DefaultSelector()
    buffer = bytearray(READ_BYTES)
    left: dict[Connection, int] = {}
    connections = [Connection(host, port) for _ in paths]
    for connection, path in zip(connections, paths, strict=True):
        connection.ask(path)
        selector.register(connection.socket, selectors.EVENT_READ, (connection, path))
    moved, stop_at = 0, time.monotonic() + seconds
    while time.monotonic() < stop_at:
        for key, _ in selector.select(max(0.0, stop_at - time.monotonic())):
            connection, path = key.data
            if not left.get(connection):
                status, headers, rest = connection.head()
                if status != 200:
                    raise ConnectionError(f"{path} answered {status}")
                left[connection] = int(headers["content-length"]) - len(rest)
                continue
            count = connection.socket.recv_into(buffer, min(left[connection], READ_BYTES), socket.MSG_TRUNC)
            if count == 0:
                raise ConnectionError(f"{path} ended {left[connection]} bytes early")
            moved += count
            left[connection] -= count
            if left[connection] == 0:
                connection.ask(path)
    for connection in connections:
        connection.socket.close()
    return moved


def fetch_all(port: int, paths: Sequence[str], *, connections: int, host: str = "127.0.0.1") -> float:
    """Get small blobs, the next one as soon as a connection is free; return the seconds it took."""
    selector = selectors.DefaultSelector()
    waiting = list(reversed(paths))
    started_at = time.monotonic()
    for _ in range(min(connections, len(waiting))):
        connection = Connection(host, port)
        connection.ask(waiting.pop())
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    while selector.get_map():
        ready = selector.select(TIMEOUT)
        if not ready:
            raise ConnectionError(f"no answer for {TIMEOUT:g} s")
        for key, _ in ready:
            connection = key.data
            answer = connection.answer()
            if answer.status != 200:
                raise ConnectionError(f"answered {answer.status}")
            closes = answer.headers.get("connection", "").lower() == "close"
            if closes or not waiting:
                selector.unregister(connection.socket)
                connection.socket.close()
            if closes and waiting:  # nginx, after a thousand requests
                connection = Connection(host, port)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            if waiting:
                connection.ask(waiting.pop())
    return time.monotonic() - started_at


def digest_of(host: str, port: int, path: str) -> str:
    """The digest of what a server really sends."""
    with Connection(host, port) as connection:
        connection.ask(path)
        _, headers, rest = connection.head()
        whole = hashlib.sha256(rest)
        left = int(headers["content-length"]) - len(rest)
        while left > 0:
            data = connection.socket.recv(min(left, 1 << 20))
            if not data:
                raise ConnectionError(f"{path} ended {left} bytes early")
            whole.update(data)
            left -= len(data)
    return f"sha256:{whole.hexdigest()}"


def get_json(host: str, port: int, path: str) -> dict[str, Any]:
    """A small JSON document."""
    with Connection(host, port) as connection:
        document: dict[str, Any] = json.loads(connection.get(path).body)
        return document
