from functools import partial

import pytest
import trio

from shell.transfer.bench import Blob, ScriptHolder, ServeStore
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES
from spegel_gossip.routing import AllHoldersFailedError, NoHolderError, Peer
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.fetcher import PeerBlobFetcher

MANIFEST = b'{"schemaVersion": 2, "layers": []}'
DIGEST = Digest.of(MANIFEST)


def answer(body: bytes, *, length: int | None = None, then: Then = Then.STALL) -> RawAnswer:
    return RawAnswer(200, {"Content-Length": str(len(body) if length is None else length)}, body, then)


@pytest.fixture
async def holder(serve_store: ServeStore) -> Peer:
    store = MemoryStore()
    store.add_blob(MANIFEST)
    return await serve_store("honest", store)


async def test_a_manifest_arrives(fetcher: PeerBlobFetcher, router: TableRouter, holder: Peer) -> None:
    router.name_holders([holder])

    assert await fetcher.fetch_manifest(DIGEST) == MANIFEST


@pytest.mark.parametrize("size", [300_000, MAX_MANIFEST_BYTES])
async def test_a_large_manifest_arrives(
    size: int, fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(size))
    router.name_holders([await serve_store("a", store)])

    assert await fetcher.fetch_manifest(digest) == blob(size)


@pytest.mark.parametrize(
    "wrong",
    [
        answer(MANIFEST[:-1] + b"?"),
        answer(MANIFEST[:-1]),
        answer(b""),
        answer(MANIFEST[:9], length=len(MANIFEST), then=Then.CLOSE),
        answer(MANIFEST[:9], length=len(MANIFEST), then=Then.RESET),
        answer(MANIFEST[:9], length=len(MANIFEST), then=Then.STALL),
        answer(b"", length=MAX_MANIFEST_BYTES + 1),
        RawAnswer(404, {"Content-Length": "0"}),
        None,
    ],
    ids=["other bytes", "short", "empty", "ends", "resets", "stalls", "too large", "miss", "silent"],
)
async def test_after_a_holder_that_sends_no_true_manifest_the_next_one_is_asked(
    wrong: RawAnswer | None,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    script_holder: ScriptHolder,
    holder: Peer,
) -> None:
    router.name_holders([script_holder("liar", lambda head: wrong).peer, holder])

    assert await fetcher.fetch_manifest(DIGEST) == MANIFEST


async def test_nothing_unverified_is_ever_returned(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder
) -> None:
    liar = script_holder("liar", lambda head: answer(b"{}"))
    router.name_holders([liar.peer])

    for _ in range(2):
        with pytest.raises(AllHoldersFailedError, match="liar: its bytes do not have the digest"):
            await fetcher.fetch_manifest(DIGEST)

    assert len(liar.requests) == 2  # nor kept


async def test_a_manifest_is_fetched_once_however_many_ask(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder
) -> None:
    holder = script_holder("a", lambda head: answer(MANIFEST))
    router.name_holders([holder.peer])
    got: list[bytes] = []

    async def ask() -> None:
        got.append(await fetcher.fetch_manifest(DIGEST))

    async with trio.open_nursery() as askers:
        for _ in range(20):
            askers.start_soon(ask)
    await ask()

    assert got == [MANIFEST] * 21
    assert len(holder.requests) == 1


async def test_whoever_waits_for_a_fetch_that_fails_fails_with_it(
    fetcher: PeerBlobFetcher, router: TableRouter
) -> None:
    failures: list[NoHolderError] = []

    async def ask() -> None:
        with pytest.raises(NoHolderError) as caught:
            await fetcher.fetch_manifest(DIGEST)
        failures.append(caught.value)

    async with trio.open_nursery() as askers:
        for _ in range(5):
            askers.start_soon(ask)

    assert len(failures) == 5
    assert len(router.lookups) == 1


async def test_when_the_first_to_ask_goes_away_the_next_in_line_fetches(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, holder: Peer
) -> None:
    silent = script_holder("silent", lambda head: None)
    router.name_holders([silent.peer], [holder])
    first_scope = trio.CancelScope()
    got: list[bytes] = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            got.append(await fetcher.fetch_manifest(DIGEST))

    async with trio.open_nursery() as askers:
        askers.start_soon(partial(ask, first_scope))
        while not silent.requests:
            await trio.lowlevel.checkpoint()
        askers.start_soon(partial(ask, trio.CancelScope()))
        await trio.testing.wait_all_tasks_blocked()
        first_scope.cancel()

    assert got == [MANIFEST]
