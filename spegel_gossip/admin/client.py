"""The CLI's side of the admin socket: small, synchronous, and helpful when nobody answers."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from spegel_gossip.errors import SpegelGossipError

TIMEOUT = 35.0
"""Seconds; a little more than the node itself allows for an answer."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A cluster of thousands of members takes a few; more is not from a node."""

_REMEDY = "is the node running? Start it, or give --admin-socket or --state-dir as it was given them"


class AdminError(SpegelGossipError):
    """The running node did not give what was asked; the message says what to do."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("spegel-gossip", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(os.fspath(self._path))


def ask_node(path: Path, route: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Return what the node that listens at `path` answers to one question.

    Raises:
        AdminError: nobody answers there, or the answer is an error.
    """
    return _exchange(path, "GET", f"{route}?{urlencode(query)}" if query else route, None)


def tell_node(path: Path, route: str, arguments: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """Have the node that listens at `path` do something, and return what it says of the outcome.

    Raises:
        AdminError: nobody answers there, or the answer is an error.
    """
    return _exchange(path, "POST", route, json.dumps(arguments).encode())


def _exchange(path: Path, method: str, target: str, content: bytes | None) -> Any:  # noqa: ANN401 - JSON
    connection = _UnixConnection(path)
    try:
        connection.request(method, target, body=content)
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES + 1)
    except FileNotFoundError as exc:
        raise AdminError(f"{path} does not exist: {_REMEDY}") from exc
    except ConnectionRefusedError as exc:
        raise AdminError(f"nobody listens at {path}: {_REMEDY}") from exc
    except PermissionError as exc:
        raise AdminError(
            f"{path} may not be opened by this user: be root, or the user that the node runs as"
        ) from exc
    except TimeoutError as exc:
        raise AdminError(f"the node at {path} did not answer within {TIMEOUT:.0f} s: see its log") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise AdminError(f"the node at {path} broke off ({exc}): {_REMEDY}") from exc
    finally:
        connection.close()
    return _value(path, response.status, body)


def _value(path: Path, status: int, body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        value = json.loads(body[:MAX_ANSWER_BYTES])
    except ValueError as exc:
        raise AdminError(f"what answers at {path} is not a node: its answer is not JSON") from exc
    if status == http.client.OK:
        return value
    message = value.get("error") if isinstance(value, dict) else None
    raise AdminError(f"the node refused: {message or f'status {status}'}")
