"""An answer that a whole copy sends ends in its middle, where a fetch from upstream waits long for a slot."""

from __future__ import annotations

import socket

import pytest
import trio

from shell.transfer.bench import Blob, Consume, ScriptHolder, ServeStore, holding, is_paced
from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import FetchNeed, Holders, Peer
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.pump import Pump
from spegel_gossip.testing.holders import TableRouter
from spegel_gossip.testing.memory_store import MemoryPartial, MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.spreading import Spreading
from spegel_gossip.wire.client import PeerClient
from unit.transfer.stand_ins import Bystanders, FreeSlots

SIZE = 300_000
RATE = 150_000
"""Bytes a second: slow enough to be waited for, so that the pace is judged."""
LARGE = 16 << 20
LONG = 60.0


class OpenedLine(FreeSlots):
    """Lets a fetch through once, and hears of what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.openings = 1

    def open_line(self) -> bool:
        self.openings -= 1
        return self.openings >= 0


class Owner(Bystanders):
    """Names one source (`routing.FetchRouter`)."""

    def __init__(self, source: Peer, *, patience: float | None) -> None:
        super().__init__()
        self.source = source
        self.patience = patience
        self.slots = OpenedLine()

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        await trio.lowlevel.checkpoint()
        return Holders(digest, (self.source,), SIZE, patience=self.patience)


class Unreadable(MemoryStore):
    """Tells of its ingests, and lets nobody look at them."""

    async def open_partial(self, digest: Digest) -> MemoryPartial:
        await trio.lowlevel.checkpoint()
        raise ContentNotFoundError(digest)


def fetcher_of(
    owner: Owner,
    client: PeerClient,
    digest: Digest,
    memory: MemoryStore | None = None,
    spreading: Spreading | None = None,
) -> PeerBlobFetcher:
    memory = memory or MemoryStore()
    memory.begin_ingest(digest, total=SIZE)
    router = TableRouter()
    router.name_holders([owner.source], [owner.source])
    spreading = spreading or Spreading(owner, memory)
    return PeerBlobFetcher(router, client, TransferConfig(stall_timeout=LONG), spreading=spreading)


async def test_it_ends_once_and_goes_on_where_it_ended(
    client: PeerClient, script_holder: ScriptHolder, consume: Consume, blob: Blob
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    owner = Owner(script_holder("whole", is_paced(RATE, data)).peer, patience=None)
    fetcher = fetcher_of(owner, client, digest)
    with trio.fail_after(LONG / 3):
        ended, first = await consume(await fetcher.open(digest))
    assert ended.ending is Ending.SOURCE_FAILED
    assert "slot is given back" in ended.detail
    assert 0 < len(first) < SIZE
    assert owner.gone == [digest]

    with trio.fail_after(LONG / 3):
        rest, received = await consume(await fetcher.open(digest, start=len(first), is_range=True))
    assert rest.is_complete
    assert first + received == data
    assert len(owner.slots.came) == 1


async def test_it_ends_where_the_client_is_what_is_slow(
    client: PeerClient, serve_store: ServeStore, blob: Blob, nursery: trio.Nursery
) -> None:
    data = blob(LARGE)
    digest = Digest.of(data)
    owner = Owner(await serve_store("whole", holding(data)), patience=None)
    stream = await fetcher_of(owner, client, digest).open(digest)
    near, far = socket.socketpair()
    deliveries: list[Delivery] = []

    async def send() -> None:
        with trio.socket.from_stdlib_socket(near) as sock:
            deliveries.append(await Pump().send_stream(sock, stream, 0, LARGE))

    with trio.fail_after(LONG / 3), trio.socket.from_stdlib_socket(far) as sock:
        nursery.start_soon(send)
        received = 0
        while part := await sock.recv(LARGE // 100):
            received += len(part)
            await trio.sleep(0.02)
    [delivery] = deliveries
    assert received == delivery.moved
    assert delivery.ending is Ending.SOURCE_FAILED
    assert 0 < delivery.moved < LARGE


@pytest.mark.parametrize(
    ("patience", "is_range", "can_yield", "is_read", "is_readable"),
    [
        pytest.param(LONG, False, True, False, True, id="a growing copy"),
        pytest.param(None, True, True, False, True, id="one range of several, perhaps"),
        pytest.param(None, False, False, False, True, id="who bears no early end"),
        pytest.param(None, False, True, True, True, id="what another node reads here"),
        pytest.param(None, False, True, False, False, id="whose leases may have bytes unseen"),
    ],
)
async def test_what_else_comes_goes_on(
    client: PeerClient,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
    patience: float | None,
    is_range: bool,
    can_yield: bool,
    is_read: bool,
    is_readable: bool,
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    owner = Owner(script_holder("source", is_paced(RATE, data)).peer, patience=patience)
    memory = MemoryStore() if is_readable else Unreadable()
    spreading = Spreading(owner, memory, can_yield=can_yield, is_read=lambda _digest: is_read)
    fetcher = fetcher_of(owner, client, digest, memory, spreading)
    with trio.fail_after(LONG / 3):
        delivery, received = await consume(await fetcher.open(digest, is_range=is_range))
    assert delivery.is_complete
    assert received == data
    assert owner.slots.openings == 1
