"""The listener loop for an ASGI application: accept, bound, serve, drain."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState

from spegel_gossip.errors import ConfigError
from spegel_gossip.splice.closing import close_with_fin
from spegel_gossip.splice.hypercorn import BlobTCPServer
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.seam import seam_trouble

log = structlog.get_logger(__name__)

REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What one connection too many gets: containerd goes to the next host, where silence would hold it."""

MAX_REFUSALS = 64
"""Connections being refused at once; beyond that they are just closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How an HTTP server for this node's own clients behaves."""

    max_connections: int = 512
    """Connections open at once; containerd keeps a few, more than this is a fault or a flood."""

    keep_alive_timeout: float = 75.0
    """Seconds an idle connection is kept, and those in which a request head must arrive."""

    max_requests: int = 1_000_000
    """Requests answered on one connection; the last answer says that it closes. A local client has no
    reason to be thrown off, but Hypercorn wants a number."""

    drain_timeout: float = 25.0
    """Seconds that running answers get after the shutdown began."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.max_connections < 1:
            raise ConfigError(f"max_connections must be at least 1, got {self.max_connections}")
        if self.keep_alive_timeout <= 0:
            raise ConfigError(f"keep_alive_timeout must be > 0 seconds, got {self.keep_alive_timeout}")
        if self.max_requests < 1:
            raise ConfigError(f"max_requests must be at least 1, got {self.max_requests}")
        if self.drain_timeout < 0:
            raise ConfigError(f"drain_timeout must not be negative, got {self.drain_timeout}")


async def serve(
    app: ASGIFramework,
    listeners: Sequence[trio.SocketListener],
    config: ServerConfig,
    *,
    pump: Pump,
    trouble: str | None = None,
    shutdown_trigger: Callable[[], Awaitable[None]] = trio.sleep_forever,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application, with `spegel_gossip.send_blob` in its scopes, until told to stop.

    Where the installed Hypercorn is not the one that the extension was written for, it
    serves without: every byte then passes through Python, and `status` says so.

    When `shutdown_trigger` returns, the listeners close, idle connections end, running
    answers get `drain_timeout`, and what is left is ended by FIN.

    Args:
        app: an ASGI application; a QuartTrio is one
        listeners: open and listening; closed when this returns
        config: limits and patience
        pump: the process's one pump
        trouble: why the extension cannot be used, empty if it can; None to find out
        shutdown_trigger: awaited once; its return begins the shutdown
        task_status: started when connections are accepted
    """
    trouble = seam_trouble() if trouble is None else trouble
    hypercorn = _hypercorn_config(config)
    wrapped = ASGIWrapper(app)
    context = WorkerContext(None)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, hypercorn, state)
    make_server: Callable[[trio.SocketStream], TCPServer]
    if trouble:
        log.warning("blobs pass through Python, at some three times the CPU", reason=trouble)
        make_server = cast("Any", partial(TCPServer, wrapped, hypercorn, context, state))
    else:
        make_server = partial(BlobTCPServer, wrapped, hypercorn, context, state, pump)
    acceptor = Acceptor(make_server, max_connections=config.max_connections)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(
                        trio.serve_listeners, acceptor.serve, list(listeners), handler_nursery=connections
                    )
                )
                task_status.started()
                await shutdown_trigger()
                accepting.cancel_scope.cancel()
            # Connections look at this between two requests, and idle ones wait for it.
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.drain_timeout
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()


class Acceptor:
    """Runs one server per connection, up to a number of them."""

    def __init__(
        self, make_server: Callable[[trio.SocketStream], TCPServer], *, max_connections: int
    ) -> None:
        """Start with no connection."""
        self._make_server = make_server
        self._max_connections = max_connections
        self._open = 0
        self._refusing = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; a bug met in it ends that connection only."""
        if self._open >= self._max_connections:
            await self._refuse(stream)
            return
        self._open += 1
        try:
            await self._make_server(stream).run()
        except Exception:
            log.exception("a connection ended by a bug; the others go on")
        finally:
            self._open -= 1

    async def _refuse(self, stream: trio.SocketStream) -> None:
        log.debug("connection refused: too many are open", limit=self._max_connections)
        if self._refusing >= MAX_REFUSALS:
            return
        self._refusing += 1
        try:
            await stream.send_all(REFUSAL)
            await close_with_fin(stream.socket)
        except trio.BrokenResourceError:
            return
        finally:
            self._refusing -= 1


def _hypercorn_config(config: ServerConfig) -> Config:
    hypercorn = Config()
    hypercorn.accesslog = None
    hypercorn.errorlog = logging.getLogger(__name__)
    hypercorn.include_server_header = False
    hypercorn.keep_alive_timeout = config.keep_alive_timeout
    hypercorn.keep_alive_max_requests = config.max_requests
    return hypercorn
