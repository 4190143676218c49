"""A registry that answers as a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import h11
import trio

from lab.images import Artifact


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> Sequence[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query)


@dataclass(frozen=True)
class Told:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    """Body bytes after which the connection ends, whatever Content-Length promised."""


Script = Callable[[Asked], Told]


class ScriptedRegistry:
    """Listens on loopback until its nursery is cancelled; one request a connection."""

    def __init__(self, script: Script, *, address: str = "127.0.0.1") -> None:
        self.script = script
        self.address = address
        self.asked: list[Asked] = []
        self.port = 0

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def asked_for(self, part: str) -> list[Asked]:
        return [one for one in self.asked if part in one.target]

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host=self.address)
        self.port = cast("int", listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(
            self._serve, listeners, task_status=cast("trio.TaskStatus[object]", task_status)
        )

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                asked = await _read_request(stream)
                if asked is None:
                    return
                self.asked.append(asked)
                await stream.send_all(_encode(self.script(asked), asked))
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return


async def _read_request(stream: trio.SocketStream) -> Asked | None:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Asked(request.method.decode(), request.target.decode(), headers, bytes(body))
        else:
            return None


def _encode(told: Told, asked: Asked) -> bytes:
    headers = {"Content-Length": str(len(told.body)), "Connection": "close", **told.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = b"" if asked.method == "HEAD" else told.body[: told.cut_after]
    return f"HTTP/1.1 {told.status} X\r\n{head}\r\n".encode() + body


def error(status: int, code: str = "UNKNOWN", **headers: str) -> Told:
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Told(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def serving(artifact: Artifact, tag: str = "v1") -> Script:
    """A script that serves an artifact, ranges included, under any repository."""
    return partial(_serve_artifact, artifact, tag)


def _serve_artifact(artifact: Artifact, tag: str, asked: Asked) -> Told:
    *_, kind, reference = asked.path.split("/")
    wanted = artifact.root.digest if reference == tag else reference
    for blob in artifact.manifests if kind == "manifests" else artifact.blobs:
        if blob.digest == wanted:
            return part_of(b"".join(blob.chunks()), asked, media_type=blob.media_type)
    return error(404, "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN")


def part_of(content: bytes, asked: Asked, *, media_type: str = "application/octet-stream") -> Told:
    start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in asked.headers else 0
    headers = {"Content-Type": media_type}
    if not start:
        return Told(200, headers, content)
    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Told(206, headers, content[start:])
