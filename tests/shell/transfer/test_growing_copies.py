from collections.abc import Awaitable, Callable

import pytest
import trio

from shell.transfer.bench import Blob
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Peer
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.tail import BEHIND_HEADER, TAIL_HEADER, TailRequest
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.response import PeerResponse

SIZE = 3_000_001
CHILD = TailRequest(0, 9)
OUR_STAMP = 5


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def parent(serve_store: Callable[..., Awaitable[Peer]], store: MemoryStore) -> Peer:
    return await serve_store("parent", store, lambda _digest: (0, OUR_STAMP))


async def tail(
    client: PeerClient, parent: Peer, digest: Digest, *, child: TailRequest | None = CHILD, start: int = 0
) -> PeerResponse:
    headers = {} if child is None else {TAIL_HEADER: child.header()}
    if start:
        headers["Range"] = f"bytes={start}-"
    return await client.open(parent, "GET", f"/blobs/{digest}", headers=headers)


async def read(response: PeerResponse, count: int) -> bytes:
    """Return so many bytes, or what came before the end."""
    body = bytearray(response.head)
    with trio.fail_after(10.0):
        while len(body) < count:
            data = await response.socket.recv(min(65_536, count - len(body)))
            if not data:
                break
            body += data
    return bytes(body)


async def test_a_copy_is_read_as_it_grows_and_through_its_commit(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[:1_000_000])
    response = await tail(client, parent, ingest.digest)
    assert (response.status, response.content_length) == (200, SIZE)
    first = await read(response, 1_000_000)
    ingest.write(data[1_000_000:])
    ingest.commit()
    rest = await read(response, SIZE - len(first) + len(response.head))
    assert first + rest[len(response.head) :] == data
    await response.aclose(drained=True)


async def test_a_child_that_has_a_part_gets_the_rest(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data)
    response = await tail(client, parent, ingest.digest, child=TailRequest(1_000, 9), start=1_000)
    assert (response.status, response.headers["content-range"]) == (206, f"bytes 1000-{SIZE - 1}/{SIZE}")
    assert await read(response, SIZE - 1_000) == data[1_000:]
    await response.aclose(drained=True)


async def test_an_aborted_copy_ends_short_by_fin(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[:1_000_000])
    response = await tail(client, parent, ingest.digest)
    await read(response, 1_000_000)
    ingest.abort()
    assert len(await read(response, SIZE)) <= len(response.head)
    await response.aclose(drained=False)


async def test_a_child_that_is_not_behind_is_sent_away(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    ingest = store.begin_ingest(Digest.of(data), total=SIZE)
    ingest.write(data[:1_000])
    for child in (TailRequest(1_001, 9), TailRequest(1_000, OUR_STAMP)):
        response = await tail(client, parent, ingest.digest, child=child)
        assert response.status == 503
        assert response.headers[BEHIND_HEADER.lower()] == "1000"
        await response.aclose(drained=True)


async def test_nobody_gets_a_growing_copy_unasked(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    store.begin_ingest(Digest.of(data), total=SIZE).write(data)
    response = await tail(client, parent, Digest.of(data), child=None)
    assert response.status == 404
    await response.aclose(drained=True)


async def test_a_copy_whose_length_nobody_knows_is_not_read_from(
    client: PeerClient, parent: Peer, store: MemoryStore, blob: Blob
) -> None:
    data = blob(SIZE)
    store.begin_ingest(Digest.of(data)).write(data)
    response = await tail(client, parent, Digest.of(data))
    assert response.status == 404
    await response.aclose(drained=True)
