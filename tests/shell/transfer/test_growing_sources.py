from collections.abc import Awaitable, Callable

import pytest
import trio

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import FetchNeed, Holders, NoHolderError, Peer
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.swarm.patience import LAG_PATIENCE
from spegel_gossip.testing.holders import TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.opening import BUSY_HEADER, TRY_HEADER
from spegel_gossip.transfer.spreading import Spreading
from spegel_gossip.transfer.tail import TAIL_HEADER, TailRequest
from spegel_gossip.wire.client import PeerClient
from unit.transfer.stand_ins import Bystanders, FreeSlots

Consume = Callable[[BlobStream], Awaitable[tuple[Delivery, bytes]]]
SIZE = 3_000_000
PART = 1_000_000
PATIENCE = 5.0
LIMIT = 30.0


class Owner(Bystanders):
    """Names the same growing source until that failed (`routing.FetchRouter`)."""

    def __init__(self, *peers: Peer, patience: float = PATIENCE) -> None:
        super().__init__()
        self.patience = patience
        self.members = {peer.name: peer for peer in peers}
        self.named = list(peers[:1])
        self.asked = trio.Event()
        self.slots = FreeSlots()

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        self.needs.append(need)
        self.asked.set()
        await trio.lowlevel.checkpoint()
        peers = tuple(peer for peer in self.named if peer.name not in need.failed)
        if not peers:
            raise NoHolderError(digest)
        return Holders(digest, peers, SIZE, patience=self.patience, stamp=9)

    def place_of(self, digest: Digest) -> tuple[int, int]:
        return 0, 9

    def peer(self, name: str) -> Peer | None:
        return self.members.get(name)


class OneAfterTheOther(Owner):
    """Names another source each time that it is asked."""

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        self.named = [list(self.members.values())[len(self.needs)]]
        return await super().lookup_to_fetch(digest, need)


def fetcher_of(owner: Owner, client: PeerClient, digest: Digest) -> PeerBlobFetcher:
    store: ContentStore = (memory := MemoryStore())
    memory.begin_ingest(digest, total=SIZE)
    config = TransferConfig(stall_timeout=PATIENCE)
    return PeerBlobFetcher(TableRouter(), client, config, spreading=Spreading(owner, store))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what happens elsewhere; the caller bounds it."""
    while not holds():
        await trio.lowlevel.checkpoint()


async def received_beside(
    write: Callable[[], Awaitable[None]], fetcher: PeerBlobFetcher, digest: Digest, consume: Consume
) -> bytes:
    """Return what comes of a blob while something is written beside it, which ends with it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        _, received = await consume(await fetcher.open(digest))
        nursery.cancel_scope.cancel()
    return received


@pytest.mark.parametrize("starts", [(0, PART), (0, PART, 2 * PART), (2 * PART, 0)])
async def test_several_ranges_of_a_blob_are_read_from_a_copy_that_grows_into_them(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
    starts: tuple[int, ...],
) -> None:
    data = blob(SIZE)
    store = MemoryStore()
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    parent = await serve_store("parent", store, lambda _digest: (0, 1))
    fetcher = fetcher_of(Owner(parent), client, ingest.digest)
    got: dict[int, bytes] = {}

    async def read(start: int) -> None:
        stream = await fetcher.open(ingest.digest, start=start)
        _, got[start] = await consume(stream)

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            for start in starts:
                nursery.start_soon(read, start)
            for offset in range(0, SIZE, PART // 4):
                await trio.sleep(0.02)
                ingest.write(data[offset : offset + PART // 4])
            ingest.commit()

    assert got == {start: data[start:] for start in starts}


async def test_a_copy_that_nobody_sends_its_holder_any_more_is_left_before_its_first_byte(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    waiting, whole = MemoryStore(), MemoryStore()
    digest = waiting.begin_ingest(Digest.of(data), total=SIZE).digest
    whole.begin_ingest(digest, total=SIZE).write(data)
    idle: list[Digest] = []
    parent = await serve_store(
        "parent", waiting, lambda _digest: (0, 1), is_given_up=lambda digest, _offset: digest in idle
    )
    other = await serve_store("other", whole, lambda _digest: (0, 1))
    owner = Owner(parent, other, patience=LIMIT)
    fetcher = fetcher_of(owner, client, digest)
    got = []

    async def read() -> None:
        _, received = await consume(await fetcher.open(digest))
        got.append(received)

    with trio.fail_after(LIMIT / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await owner.asked.wait()
            await trio.sleep(0.2)
            assert len(owner.needs) == 1, "its first byte is waited for"
            owner.named.append(other)
            idle.append(digest)

    assert got == [data]
    assert (owner.needs[1].busy, owner.needs[1].failed) == (("parent",), ()), "it may be fed again soon"


@pytest.mark.parametrize("ends_first", [False, True])
async def test_a_copy_whose_pull_has_ended_is_read_to_where_it_stands_and_left(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
    ends_first: bool,
) -> None:
    data = blob(SIZE)
    ended, whole = MemoryStore(), MemoryStore()
    ingest = ended.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[:PART])
    digest = ingest.digest
    whole.begin_ingest(digest, total=SIZE).write(data)
    pulls: list[Digest] = [] if ends_first else [digest]
    parent = await serve_store(
        "parent", ended, lambda _digest: (0, 1), is_given_up=lambda digest, _offset: digest not in pulls
    )
    other = await serve_store("other", whole, lambda _digest: (0, 1))
    owner = OneAfterTheOther(parent, other, patience=LIMIT)
    got = []

    async def read() -> None:
        _, received = await consume(await fetcher_of(owner, client, digest).open(digest))
        got.append(received)

    with trio.fail_after(LIMIT / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await owner.asked.wait()
            if ends_first:
                await until(lambda: len(owner.needs) > 1)
            else:
                await trio.sleep(0.2)
                assert len(owner.needs) == 1, "its next byte is waited for until the end"
            pulls.clear()
    assert got == [data]
    assert [need.offset for need in owner.needs] == [0, PART]


async def test_a_copy_that_goes_on_from_its_own_bytes_is_sent_whoever_sends_it(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    store = MemoryStore()
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[:PART])
    parent = await serve_store(
        "parent", store, lambda _digest: (0, 1), is_given_up=lambda _digest, offset: not offset
    )
    fetcher = fetcher_of(Owner(parent), client, ingest.digest)
    with trio.fail_after(LIMIT):
        stream = await fetcher.open(ingest.digest)
        ingest.write(data[PART:])
        _, received = await consume(stream)
    assert received == data


async def test_a_copy_that_ends_in_the_middle_ends_all_ranges_short_the_lowest_first(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    store = MemoryStore()
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[: 2 * PART])
    parent = await serve_store("parent", store, lambda _digest: (0, 1))
    owner = Owner(parent)
    fetcher = fetcher_of(owner, client, ingest.digest)
    begun: list[int] = []
    ended: list[int] = []

    async def read(start: int) -> None:
        stream = await fetcher.open(ingest.digest, start=start)
        begun.append(start)
        delivery, received = await consume(stream)
        assert not delivery.is_complete
        assert data[start:].startswith(received)
        ended.append(start)

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            for start in (PART, 0):
                nursery.start_soon(read, start)
            await until(lambda: len(begun) > 1)
            await trio.sleep(0.1)  # for both to read what is there
            owner.named.clear()
            ingest.abort()

    assert ended == [0, PART]


async def test_a_busy_parent_names_those_who_read_from_it_and_they_are_tried(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    stores = [MemoryStore(), MemoryStore()]
    ingests = [store.begin_ingest(digest, total=SIZE) for store in stores]
    for ingest in ingests:
        ingest.write(data[:PART])
    full = await serve_store("full", stores[0], lambda _digest: (0, 1), max_partial_uploads=1)
    child = await serve_store("asker", stores[1], lambda _digest: (0, 2))
    tail = {TAIL_HEADER: TailRequest(0, 9).header()}
    first = await client.open(full, "GET", f"/blobs/{digest}", headers=tail)
    assert first.status == 200
    second = await client.open(full, "GET", f"/blobs/{digest}", headers=tail)
    assert second.status == 503
    assert BUSY_HEADER.lower() in second.headers
    # The one reader is the asker itself, which is not told to read from itself.
    assert TRY_HEADER.lower() not in second.headers
    await second.aclose(drained=True)

    owner = Owner(full, child)
    stream_opened = trio.Event()

    async def finish() -> None:
        await stream_opened.wait()
        for ingest in ingests:
            ingest.write(data[PART:])
            ingest.commit()

    async def leave_once_busy(held: trio.CancelScope) -> None:
        await until(lambda: any("full" in need.busy for need in owner.needs))
        await trio.sleep(0.2)
        held.cancel()

    fetcher = fetcher_of(owner, client, digest)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            with trio.CancelScope() as held:
                nursery.start_soon(leave_once_busy, held)
                await fetcher.open(digest)
            assert held.cancelled_caught
            assert not any(need.failed for need in owner.needs)
            # Room again, and the very same source is named again.
            first.close(drained=False)
            stream = await fetcher.open(digest)
            stream_opened.set()
            _, received = await consume(stream)
    assert received == data


async def test_a_growing_source_from_which_bytes_only_drip_is_left_at_the_byte_where_it_stood(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    fast, other = MemoryStore(), MemoryStore()
    growing = fast.begin_ingest(digest, total=SIZE)
    other.begin_ingest(digest, total=SIZE).write(data)
    peers = [await serve_store("fast", fast, lambda _digest: (0, 1))]
    peers.append(await serve_store("other", other, lambda _digest: (0, 1)))
    owner = Owner(*peers, patience=1.0)

    async def write() -> None:
        for offset in range(0, 2 * PART, PART // 10):
            await trio.sleep(0.06)
            growing.write(data[offset : offset + PART // 10])
        owner.named = peers[1:]
        for offset in range(2 * PART, SIZE):
            await trio.sleep(0.05)
            growing.write(data[offset : offset + 1])

    with trio.fail_after(LIMIT):
        received = await received_beside(write, fetcher_of(owner, client, digest), digest, consume)

    assert received == data
    # The owner is to weigh it: a source that has nothing more to send is not at fault.
    assert {complaint.source for complaint in owner.needs[-1].stalled} == {"fast"}
    assert not owner.needs[-1].failed
    assert owner.needs[-1].offset >= 2 * PART


async def test_a_source_that_drips_is_left_though_the_fast_one_before_it_was_never_waited_for(
    client: PeerClient,
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    silent, dripping, other = MemoryStore(), MemoryStore(), MemoryStore()
    silent.begin_ingest(digest, total=SIZE).write(data[: 2 * PART])
    drop = dripping.begin_ingest(digest, total=SIZE)
    drop.write(data[: 2 * PART])
    other.begin_ingest(digest, total=SIZE).write(data)
    stores = {"silent": silent, "dripping": dripping, "other": other}
    peers = [await serve_store(name, store, lambda _digest: (0, 1)) for name, store in stores.items()]
    owner = OneAfterTheOther(*peers, patience=1.0)

    async def drip() -> None:
        for offset in range(2 * PART, SIZE):
            await trio.sleep(0.05)
            drop.write(data[offset : offset + 1])

    # Sooner than a source is asked about from which nobody expects more.
    with trio.fail_after(LAG_PATIENCE):
        received = await received_beside(drip, fetcher_of(owner, client, digest), digest, consume)

    assert received == data
    assert [complaint.source for complaint in owner.needs[-1].stalled] == ["silent", "dripping"]
