from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from prometheus_client import REGISTRY

from spegel_gossip.fetching import SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.splice.delivery import Ending
from spegel_gossip.testing.blob_sources import ScriptedSource, ScriptedStream, Then
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher, MemoryRouter
from spegel_gossip.testing.memory_store import MemoryReader, MemoryStore

BLOB = random.Random(8).randbytes(2_000_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/library/nginx/blobs/{DIGEST}"

Connect = Callable[[], Awaitable[HttpClient]]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"spegel_gossip_registry_{name}", labels) or 0.0


class SlowFetcher(MemoryFetcher):
    """Looks for a holder until it is told that there is nobody to find one for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.begun, self.cancelled = trio.Event(), trio.Event()

    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None, is_range: bool = False
    ) -> ScriptedStream:
        self.begun.set()
        try:
            await trio.Event().wait()
        finally:
            self.cancelled.set()
        return await super().open(digest, start=start, stop=stop, is_range=is_range)


class TestAClientThatLeaves:
    @pytest.fixture
    async def fetcher(self, nursery: trio.Nursery) -> SlowFetcher:
        return SlowFetcher(nursery)

    async def test_a_search_ends_when_nobody_waits_for_it(
        self, connect: Connect, fetcher: SlowFetcher, nursery: trio.Nursery
    ) -> None:
        client = await connect()
        with trio.CancelScope() as leaving:
            async with trio.open_nursery() as asking:
                asking.start_soon(client.ask, PATH)
                await fetcher.begun.wait()
                leaving.cancel()
        await client.aclose()

        with trio.fail_after(10):
            await fetcher.cancelled.wait()
        assert (await (await connect()).ask("/v2/")).status == 200


class RememberingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[MemoryReader] = []

    async def open(self, digest: Digest) -> MemoryReader:
        self.opened.append(await super().open(digest))
        return self.opened[-1]


class TestAClientThatClosesEarly:
    @pytest.fixture
    def store(self) -> RememberingStore:
        return RememberingStore()

    @pytest.mark.parametrize("sends_blobs_itself", [True, False])
    async def test_the_blob_is_closed(self, connect: Connect, store: RememberingStore) -> None:
        # More than all socket buffers hold, so that the server is still sending.
        digest = store.add_blob(bytes(30_000_000))
        gone_before = counted("blob_deliveries_total", ending=Ending.CLIENT_GONE.value)
        client = await connect()
        await client.begin(f"/v2/x/blobs/{digest}")
        await client.aclose()

        with trio.fail_after(10):
            while store.opened[0].fileno() is not None:
                await trio.lowlevel.checkpoint()
        assert counted("blob_deliveries_total", ending=Ending.CLIENT_GONE.value) == gone_before + 1
        assert (await (await connect()).ask("/v2/")).status == 200

    async def test_a_416_closes_the_blob(self, connect: Connect, store: RememberingStore) -> None:
        store.add_blob(BLOB)
        client = await connect()

        await client.ask(PATH, headers=[("Range", "bytes=2000000-")])

        assert store.opened[0].fileno() is None


async def test_many_clients_at_once_get_their_own_bytes(connect: Connect, fetcher: MemoryFetcher) -> None:
    fetcher.add_blob(BLOB)
    received: dict[int, bytes] = {}

    async def pull(start: int) -> None:
        client = await connect()
        reply = await client.ask(PATH, headers=[("Range", f"bytes={start}-{start + 99_999}")])
        received[start] = reply.body

    async with trio.open_nursery() as pulling:
        for start in range(0, 2_000_000, 100_000):
            pulling.start_soon(pull, start)

    assert b"".join(received[start] for start in sorted(received)) == BLOB


def manifest(size: int, seed: int) -> bytes:
    document = {
        "schemaVersion": 2,
        "manifests": [],
        "annotations": {"seed": str(seed), "padding": "x" * size},
    }
    return json.dumps(document).encode()


async def test_the_memory_for_manifests_is_bounded(client: HttpClient, fetcher: MemoryFetcher) -> None:
    digests = [fetcher.add_blob(manifest(200_000, seed)) for seed in range(30)]
    for digest in digests:
        assert (await client.ask(f"/v2/x/manifests/{digest}")).status == 200
    fetcher.asked.clear()

    await client.ask(f"/v2/x/manifests/{digests[-1]}")
    assert fetcher.asked == []
    await client.ask(f"/v2/x/manifests/{digests[0]}")
    assert fetcher.asked == [digests[0]]


async def test_one_large_manifest_does_not_push_the_others_out(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    small, large = fetcher.add_blob(manifest(100, 0)), fetcher.add_blob(manifest(4_000_000, 1))
    for digest in (small, large, small, large):
        assert (await client.ask(f"/v2/x/manifests/{digest}")).status == 200

    assert fetcher.asked == [small, large, large]


async def test_requests_are_counted_by_kind_method_and_outcome(
    client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher
) -> None:
    def requests(kind: str, method: str, outcome: str) -> float:
        return counted("requests_total", kind=kind, method=method, outcome=outcome)

    cases = [
        ("blob", "GET", "peer"),
        ("blob", "HEAD", "peer"),
        ("manifest", "GET", "miss"),
        ("other", "other", "error"),
    ]
    before = [requests(*case) for case in cases]
    sent_before = counted("sent_bytes_total", kind="blob", outcome="peer")
    fetcher.add_blob(BLOB)

    await client.ask(PATH)
    await client.ask(PATH, method="HEAD")
    await client.ask(f"/v2/x/manifests/{Digest.of(b'')}")
    await client.ask("/v2/x/manifests/latest", method="BREW")

    assert [requests(*case) for case in cases] == [count + 1 for count in before]
    assert counted("sent_bytes_total", kind="blob", outcome="peer") - sent_before == len(BLOB)


async def test_a_slot_given_back_counts_as_that_and_not_as_an_answer_from_a_peer(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    def counts(outcome: str) -> tuple[float, float]:
        labels = {"kind": "blob", "outcome": outcome}
        requests = counted("requests_total", method="GET", **labels)
        return requests, counted("first_byte_seconds_count", **labels)

    peer, (requests, first_bytes) = counts("peer"), counts("yielded")
    fetcher.failure = lambda digest: SlotYieldedError(digest, len(BLOB))

    await client.begin(PATH)

    assert counts("yielded") == (requests + 1, first_bytes + 1)
    assert counts("peer") == peer


async def test_the_text_of_an_error_is_no_content_sent(client: HttpClient) -> None:
    before = counted("sent_bytes_total", kind="blob", outcome="miss")

    assert (await client.ask(PATH)).status == 404

    assert counted("sent_bytes_total", kind="blob", outcome="miss") == before


async def test_a_transfer_that_was_cut_is_not_counted_as_complete(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    def endings(ending: Ending) -> float:
        return counted("blob_deliveries_total", ending=ending.value)

    complete, failed = endings(Ending.COMPLETE), endings(Ending.SOURCE_FAILED)
    fetcher.add_blob(BLOB, sources=[ScriptedSource(gives=1000, then=Then.CLOSE)])

    assert (await client.ask(PATH)).is_cut

    # The client sees the end before the handler does.
    with trio.fail_after(10):
        while endings(Ending.SOURCE_FAILED) == failed:
            await trio.lowlevel.checkpoint()
    assert endings(Ending.COMPLETE) == complete


async def test_a_manifest_fetched_once_is_local_when_it_is_here(
    client: HttpClient, store: MemoryStore, router: MemoryRouter, fetcher: MemoryFetcher
) -> None:
    digest = fetcher.add_blob(manifest(100, 2))
    first = await client.ask(f"/v2/x/manifests/{digest}")
    store.add_blob(manifest(100, 2))
    second = await client.ask(f"/v2/x/manifests/{digest}")

    assert first.headers["spegel-gossip-source"] == "peer"
    assert second.headers["spegel-gossip-source"] == "local"
