"""An answer that a whole copy sends ends in its middle, where a fetch from upstream waits long for a slot."""

from __future__ import annotations

import pytest
import trio

from shell.transfer.bench import Blob, Consume, ScriptHolder, is_paced
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import FetchNeed, Holders, Peer
from spegel_gossip.splice.delivery import Ending
from spegel_gossip.testing.holders import TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.spreading import Spreading
from spegel_gossip.wire.client import PeerClient
from unit.transfer.free_slots import FreeSlots

SIZE = 300_000
RATE = 150_000
"""Bytes a second: slow enough to be waited for, so that the pace is judged."""
LONG = 60.0


class OpenedLine(FreeSlots):
    """Lets a fetch through once, and hears of what comes back."""

    def __init__(self) -> None:
        self.openings = 1
        self.came: list[float] = []

    def open_line(self) -> bool:
        self.openings -= 1
        return self.openings >= 0

    def came_back(self, given_at: float) -> None:
        self.came.append(given_at)


class Owner:
    """Names one source (`routing.FetchRouter`)."""

    def __init__(self, source: Peer, *, patience: float | None) -> None:
        self.source = source
        self.patience = patience
        self.slots = OpenedLine()
        self.gone: list[Digest] = []

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        await trio.lowlevel.checkpoint()
        return Holders(digest, (self.source,), SIZE, patience=self.patience)

    def place_of(self, digest: Digest) -> tuple[int, int]:
        return 0, 0

    def peer(self, name: str) -> Peer | None:
        return None

    def left(self, digest: Digest) -> None:
        self.gone.append(digest)


def fetcher_of(
    owner: Owner, client: PeerClient, digest: Digest, *, can_yield: bool = True
) -> PeerBlobFetcher:
    memory = MemoryStore()
    memory.begin_ingest(digest, total=SIZE)
    router = TableRouter()
    router.name_holders([owner.source], [owner.source])
    spreading = Spreading(owner, memory, can_yield=can_yield)
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


@pytest.mark.parametrize(
    ("patience", "is_range", "can_yield"), [(LONG, False, True), (None, True, True), (None, False, False)]
)
async def test_a_growing_copy_a_range_and_who_bears_no_early_end_go_on(
    client: PeerClient,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
    patience: float | None,
    is_range: bool,
    can_yield: bool,
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    owner = Owner(script_holder("source", is_paced(RATE, data)).peer, patience=patience)
    fetcher = fetcher_of(owner, client, digest, can_yield=can_yield)
    with trio.fail_after(LONG / 3):
        delivery, received = await consume(await fetcher.open(digest, is_range=is_range))
    assert delivery.is_complete
    assert received == data
    assert owner.slots.openings == 1
