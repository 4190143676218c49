"""Nodes on loopback that have both peer sockets and nothing above them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import trio

from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.keyring import Keyring, new_key
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import PeerSockets, open_peer_sockets


def make_keyring(*, keys: int = 1) -> Keyring:
    return Keyring(tuple(base64.b64decode(new_key()) for _ in range(keys)))


@dataclass
class Endpoint:
    """Both sockets of one node on loopback."""

    credentials: Credentials
    address: Address
    datagrams: Datagrams
    server: PeerServer
    client: PeerClient
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def name(self) -> str:
        return self.credentials.name

    @property
    def peer(self) -> Peer:
        return Peer(self.name, "", (self.address,))


class Endpoints:
    """Makes endpoints and closes them at the end of the test."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack) -> None:
        self._nursery = nursery
        self._stack = stack

    async def make(
        self,
        name: str,
        keyring: Keyring | None,
        *,
        cluster: str = "test",
        boot: int = 1,
        clock: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Endpoint:
        sockets = open_peer_sockets(host, port)
        self._stack.callback(sockets.close)
        credentials = Credentials(name=name, boot=boot, cluster=cluster, keyring=keyring)
        endpoint = Endpoint(
            credentials,
            Address("127.0.0.1", sockets.port),
            Datagrams(sockets.udp, credentials),
            PeerServer(sockets.tcp, credentials, clock=clock),
            PeerClient(credentials, clock=clock),
        )
        self._stack.callback(endpoint.client.close)
        await self._nursery.start(self._run, endpoint, sockets)
        return endpoint

    async def stop(self, endpoint: Endpoint) -> None:
        """Stop it; returns when both sockets are closed."""
        endpoint.scope.cancel()
        await endpoint.ended.wait()

    async def _run(
        self, endpoint: Endpoint, sockets: PeerSockets, *, task_status: trio.TaskStatus[None]
    ) -> None:
        with endpoint.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(endpoint.datagrams.run)
                await nursery.start(endpoint.server.run)
                task_status.started()
        sockets.close()
        endpoint.ended.set()
