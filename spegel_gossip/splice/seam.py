"""Whether the installed Hypercorn and h11 are what the extension was written against.

Run when a server starts: a changed internal must be a sentence then, not a puzzling
failure in the middle of a pull.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import version
from typing import Any, cast

import h11
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext

from spegel_gossip.splice.errors import ServerSeamError
from spegel_gossip.splice.http1 import ARGUMENTS
from spegel_gossip.splice.hypercorn import BodyLength

SERVER_METHODS = ("run", "protocol_send", "_read_data", "_idle_timeout", "_initiate_server_close", "_close")
SERVER_PARAMETERS = ["app", "config", "context", "state", "stream"]
PROTOCOL_METHODS = ("_check_protocol", "_create_stream", "_send_error_response")
SERVER_ATTRIBUTES = ("app", "context", "send_lock", "idle_task", "stream")


def check_seam(*, server: type = TCPServer, protocol: type = H11Protocol) -> None:
    """Return if the extension fits the installed libraries.

    Args:
        server: the class that `BlobTCPServer` is made from
        protocol: the class that holds the h11 connection

    Raises:
        ServerSeamError: something it leans on is gone; the message names it.
    """
    for name in SERVER_METHODS:
        _require(inspect.iscoroutinefunction(getattr(server, name, None)), f"TCPServer.{name}")
    parameters = list(inspect.signature(server).parameters)
    _require(parameters == SERVER_PARAMETERS, f"TCPServer({', '.join(SERVER_PARAMETERS)})")
    nothing = cast(Any, None)
    context = WorkerContext(None)
    _require(hasattr(context, "terminated"), "WorkerContext.terminated")
    _require(hasattr(TaskGroup, "spawn"), "TaskGroup.spawn")
    for name in ("restart", "stop"):
        _require(inspect.iscoroutinefunction(getattr(TrioSingleTask, name, None)), f"TrioSingleTask.{name}")
    made = server(nothing, Config(), context, {}, nothing)
    for name in SERVER_ATTRIBUTES:
        _require(hasattr(made, name), f"TCPServer.{name}")
    spoken = protocol(nothing, Config(), context, nothing, nothing, False, None, None, nothing)
    _require(isinstance(getattr(spoken, "connection", None), h11.Connection), "H11Protocol.connection")
    _require(list(inspect.signature(protocol).parameters) == list(ARGUMENTS), "H11Protocol's arguments")
    for name in ARGUMENTS:
        _require(hasattr(spoken, name), f"H11Protocol.{name}")
    for name in PROTOCOL_METHODS:
        _require(inspect.iscoroutinefunction(getattr(protocol, name, None)), f"H11Protocol.{name}")
    _require(_passes_length_through(), "h11's send_with_data_passthrough of an object with a length")


@cache
def seam_trouble() -> str:
    """Return why blobs cannot go from disk to socket within the kernel here; empty if they can."""
    try:
        check_seam()
    except ServerSeamError as exc:
        return str(exc)
    return ""


def _passes_length_through() -> bool:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: seam\r\n\r\n")
    connection.next_event()
    connection.next_event()
    connection.send(h11.Response(status_code=200, headers=[("content-length", "7")]))
    body = BodyLength(7)
    pieces = connection.send_with_data_passthrough(h11.Data(data=cast(bytes, body)))
    connection.send(h11.EndOfMessage())
    return pieces is not None and list(map(id, pieces)) == [id(body)] and connection.our_state is h11.DONE


def _require(is_there: bool, what: str) -> None:
    if not is_there:
        raise ServerSeamError(
            f"hypercorn {version('hypercorn')} with h11 {version('h11')} lacks {what}, which sending blobs "
            "needs; install the versions that pyproject.toml pins"
        )
