"""Nodes as far as prefetching goes: real sockets, a store in memory, a puller that does as it is told."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import trio

from shell.wire.endpoints import make_keyring
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.campaign import Campaigns
from spegel_gossip.prefetch.jobs import Jobs
from spegel_gossip.prefetch.messages import PULL_PATH
from spegel_gossip.pulling import PullFailedError
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets


@dataclass
class Counted:
    """Where bytes came from, by hand."""

    upstream: int = 0
    peers: int = 0

    def so_far(self, digests: Iterable[Digest]) -> tuple[int, int]:
        return self.upstream, self.peers


@dataclass
class ScriptedPuller:
    """A `pulling.ImagePuller` that waits for leave, and then does as it was told."""

    may_end: trio.Event = field(default_factory=trio.Event)
    failure: PullFailedError | None = None
    begun: list[str] = field(default_factory=list)
    cancelled: int = 0

    async def pull(self, image: Reference) -> None:
        self.begun.append(str(image))
        try:
            await self.may_end.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure


@dataclass
class PrefetchNode:
    """One node."""

    name: str
    store: MemoryStore
    manifests: dict[Digest, bytes]
    puller: ScriptedPuller
    counted: Counted
    jobs: Jobs
    peer: Peer
    client: PeerClient


class Nodes:
    """A cluster of them."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack) -> None:
        self._nursery = nursery
        self._stack = stack
        self._keyring = make_keyring()
        self.peers: dict[str, Peer] = {}

    async def start(self, name: str, *, knows_prefetch: bool = True) -> PrefetchNode:
        store, puller, counted = MemoryStore(), ScriptedPuller(), Counted()
        manifests: dict[Digest, bytes] = {}

        async def read(digest: Digest) -> bytes | None:
            return manifests.get(digest)

        jobs = Jobs(
            puller,
            store,
            read=read,
            origins=counted,
            may_pull=lambda image: image.registry != "private.example.com",
        )
        credentials = Credentials(name=name, boot=1, cluster="test", keyring=self._keyring)
        sockets = open_peer_sockets("127.0.0.1", 0)
        self._stack.callback(sockets.close)
        server = PeerServer(sockets.tcp, credentials, clock=time.time)
        if knows_prefetch:
            server.route(PULL_PATH, jobs.serve)
        self._nursery.start_soon(jobs.run)
        await self._nursery.start(server.run)
        client = PeerClient(credentials, clock=time.time)
        self._stack.callback(client.close)
        peer = self.peers[name] = Peer(name, "", (Address("127.0.0.1", sockets.port),))
        return PrefetchNode(name, store, manifests, puller, counted, jobs, peer, client)

    def campaigns(self, asker: PrefetchNode) -> Campaigns:
        campaigns = Campaigns(asker.jobs, asker.client, own_name=asker.name, peer=self.peers.get)
        self._nursery.start_soon(campaigns.run)
        return campaigns
