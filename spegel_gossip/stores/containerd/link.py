"""The connection to containerd, if there is one, and the threads in which it is used."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.service import ContainerdService

MAX_CALLS = 8
"""Calls in flight at once. They are short; more threads only take memory and turns of the interpreter."""

T = TypeVar("T")


class Link:
    """What the store asks containerd through. The follower connects it and cuts it."""

    def __init__(self, config: ContainerdConfig) -> None:
        self._config = config
        self._limiter = trio.CapacityLimiter(MAX_CALLS)
        self._service: ContainerdService | None = None
        self._reason = f"containerd at {config.address} was not asked yet"

    @property
    def is_up(self) -> bool:
        """Whether containerd answered when it was last asked."""
        return self._service is not None

    async def connect(self) -> ContainerdService:
        """Open a connection that answers.

        Raises:
            ContentStoreUnavailableError: there is none, and the message says why.
        """
        reason = socket_trouble(self._config.address)
        if reason is not None:
            raise ContentStoreUnavailableError(reason)
        service = ContainerdService(self._config)
        try:
            await self.run(service.version)
        except BaseException:
            service.close()
            raise
        self._service = service
        return service

    def cut(self, reason: str) -> None:
        """Give the connection up; whoever asks hears `reason`."""
        self._reason = reason
        if self._service is not None:
            self._service.close()
            self._service = None

    async def ask(self, question: Callable[[ContainerdService], T]) -> T:
        """Ask containerd something, in a thread.

        Raises:
            ContentStoreUnavailableError: there is no connection, or it failed.
        """
        if self._service is None:
            raise ContentStoreUnavailableError(self._reason)
        return await self.run(question, self._service)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Run something that blocks, in one of the few threads.

        A cancelled caller goes on at once; the thread ends by the call's own deadline.

        Raises:
            ContentStoreUnavailableError: the disk failed, or there are no descriptors left.
        """
        try:
            return await trio.to_thread.run_sync(
                function, *args, limiter=self._limiter, abandon_on_cancel=True
            )
        except OSError as exc:
            raise ContentStoreUnavailableError(f"containerd's content cannot be looked at: {exc}") from exc


def socket_trouble(address: Path) -> str | None:
    """Return what is wrong with containerd's socket and what to do, or None if it takes connections.

    grpc says only "failed to connect"; the operator needs to know which of them it is.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            probe.connect(str(address))
    except FileNotFoundError:
        if not address.parent.is_dir():
            return f"{address.parent} does not exist: mount the directory of containerd's socket"
        return f"{address} does not exist: start containerd, or correct --containerd-address"
    except PermissionError:
        return f"permission denied on {address}: run as root, or give this user access to the socket"
    except ConnectionRefusedError:
        return f"{address} refuses connections: containerd is stopped or is starting; look at its log"
    except OSError as exc:
        return f"{address} cannot be connected to: {exc}"
    return None
