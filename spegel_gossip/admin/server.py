"""HTTP/1.1 on a Unix socket: how the CLI asks the running node.

The file's mode is the only access control, which is why it is a Unix socket and not
a port. One request a connection: it is asked by people, not by programs in a loop.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

import h11
import structlog
import trio

from spegel_gossip.admin import metrics
from spegel_gossip.admin.endpoint import listen_at
from spegel_gossip.errors import SpegelGossipError

log = structlog.get_logger(__name__)

Snapshot = Callable[[Mapping[str, str]], Awaitable[object]]
"""Gives what JSON can say of some part of the node; the query comes as the argument."""

Command = Callable[[Mapping[str, str]], Awaitable[object]]
"""Changes something, and gives what JSON can say of the outcome; takes the request's JSON object."""

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
"""Of a command; a keyring file has as much at most."""

REQUEST_TIMEOUT = 5.0
"""Seconds for the request: whoever connects and says nothing holds a place no longer."""

ANSWER_TIMEOUT = 30.0
"""Seconds for making and sending the answer; a lookup asks other nodes."""

_READ_BYTES = 16 * 1024


class ArgumentError(SpegelGossipError, ValueError):
    """What came with a command is not what it wants."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    value: object
    allow: str = ""


class AdminServer:
    """The one owner of the admin socket."""

    def __init__(
        self,
        path: Path,
        snapshots: Mapping[str, Snapshot],
        commands: Mapping[str, Command] = MappingProxyType({}),
    ) -> None:
        """Take where to listen, and by path what to answer to GET, and what to do for POST."""
        self._path = path
        self._snapshots = dict(snapshots)
        self._commands = dict(commands)
        self._connections = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then take the socket's file away.

        Raises:
            ConfigError: the socket cannot be had; before `task_status` is started.
        """
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listen_at(self._path)))
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._serve, [listener])
                task_status.started()
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._connections >= MAX_CONNECTIONS:
                return
            self._connections += 1
            try:
                await self._exchange(stream)
            except trio.BrokenResourceError:
                # The other end went away: a person pressed Ctrl-C.
                return
            finally:
                self._connections -= 1

    async def _exchange(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        body = None
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                request = await _receive_head(connection, stream)
                if request is None:
                    return
                body = await _receive_body(connection, stream)
            with trio.fail_after(ANSWER_TIMEOUT):
                answer = await self._answer(request, body)
        except h11.RemoteProtocolError as exc:
            answer = _Answer(exc.error_status_hint, _error(f"not a request: {exc}"))
        except trio.TooSlowError:
            answer = _Answer(
                408 if body is None else 504, _error("that took too long: the node's log says why")
            )
        metrics.REQUESTS.labels(str(answer.status)).inc()
        with trio.move_on_after(ANSWER_TIMEOUT):
            await stream.send_all(_encode(connection, answer))

    async def _answer(self, request: h11.Request, body: bytes) -> _Answer:
        url = urlsplit(request.target.decode("latin-1"))
        snapshot, command = self._snapshots.get(url.path), self._commands.get(url.path)
        try:
            if snapshot is not None and request.method == b"GET":
                return _Answer(200, await snapshot(dict(parse_qsl(url.query))))
            if command is not None and request.method == b"POST":
                return _Answer(200, await command(_arguments_untrusted(body)))
        except SpegelGossipError as exc:
            # Names that break a grammar are ValueErrors too; the rest could not find out.
            return _Answer(400 if isinstance(exc, ValueError) else 503, _error(str(exc)))
        except Exception:
            log.exception("an admin request failed", path=url.path)
            return _Answer(500, _error("a bug in the node: its log says more"))
        if snapshot is None and command is None:
            return _Answer(404, _error(f"nothing at {url.path!r}: is the CLI of another release?"))
        allow = "GET" if command is None else "POST" if snapshot is None else "GET, POST"
        return _Answer(405, _error(f"only {allow} is answered"), allow=allow)


def _error(message: str) -> dict[str, str]:
    return {"error": message}


async def _receive_head(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    while True:
        event = connection.next_event()
        match event:
            case h11.Request():
                return event
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_READ_BYTES))
            case _:
                return None


async def _receive_body(connection: h11.Connection, stream: trio.SocketStream) -> bytes:
    """Return the rest of a request.

    Raises:
        h11.RemoteProtocolError: it is longer than any command, or cut short.
    """
    body = b""
    while True:
        event = connection.next_event()
        match event:
            case h11.Data():
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    raise h11.RemoteProtocolError("a body that long", error_status_hint=413)
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_READ_BYTES))
            case _:
                return body


def _arguments_untrusted(body: bytes) -> dict[str, str]:
    """Return a command's arguments.

    Raises:
        ArgumentError: the body is not a JSON object of strings.
    """
    try:
        arguments = json.loads(body or b"{}")
    except (ValueError, RecursionError) as exc:
        raise ArgumentError("a command wants a JSON object") from exc
    if not isinstance(arguments, dict) or not all(isinstance(one, str) for one in arguments.values()):
        raise ArgumentError("a command wants a JSON object of strings")
    return arguments


def _encode(connection: h11.Connection, answer: _Answer) -> bytes:
    body = json.dumps(answer.value).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *([("Allow", answer.allow)] if answer.allow else []),
    ]
    events: tuple[h11.Event, ...] = (
        h11.Response(status_code=answer.status, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    # HEAD never gets this far with a body: h11 itself leaves it out.
    return b"".join(connection.send(event) or b"" for event in events)
