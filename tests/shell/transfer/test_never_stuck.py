import pytest
import trio
import trio.testing

from shell.transfer.bench import Blob, Consume, ScriptHolder, ServeStore, answer, holding, is_paced
from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError
from spegel_gossip.splice.delivery import Ending
from spegel_gossip.testing.holders import TableRouter
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.hedging import MIN_SAMPLES
from spegel_gossip.wire.client import PeerClient

SIZE = (1 << 20) + 5
LATE = 5.0
"""A first byte's delay that no test waits for."""


@pytest.fixture
def config() -> TransferConfig:
    return TransferConfig(first_byte_timeout=2.0, stall_timeout=2.0, slow_timeout=0.5, min_rate=20_000)


async def learn_the_usual_rate(fetcher: PeerBlobFetcher, consume: Consume, digest: Digest) -> None:
    for _ in range(3):
        _, received = await consume(await fetcher.open(digest))
        assert Digest.of(received) == digest


async def test_a_source_far_below_what_is_usual_is_left_for_another(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    digest = Digest.of(blob(SIZE))
    healthy = await serve_store("healthy", holding(blob(SIZE)))
    slow = script_holder("slow", is_paced(100_000, blob(SIZE)))
    router.name_holders([healthy])
    await learn_the_usual_rate(fetcher, consume, digest)
    router.name_holders([slow.peer], [slow.peer, healthy])

    delivery, received = await consume(await fetcher.open(digest))

    assert delivery.is_complete
    assert received == blob(SIZE)
    assert router.unreachable == ["slow"]
    assert [name for name, _ in router.transfers[-2:]] == ["slow", "healthy"]


async def test_a_slow_source_is_better_than_none(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    digest = Digest.of(blob(SIZE))
    router.name_holders([await serve_store("healthy", holding(blob(SIZE)))])
    await learn_the_usual_rate(fetcher, consume, digest)
    slow = script_holder("slow", is_paced(600_000, blob(SIZE)))
    router.name_holders([slow.peer])

    delivery, received = await consume(await fetcher.open(digest))

    assert delivery.is_complete
    assert received == blob(SIZE)
    assert len(slow.requests) == 1
    assert router.transfers[-1] == ("slow", SIZE)


async def test_a_source_that_drips_is_given_up_even_where_it_is_the_only_one(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, consume: Consume, blob: Blob
) -> None:
    dripping = script_holder("dripping", is_paced(1000, blob(SIZE)))
    router.name_holders([dripping.peer])

    delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert delivery.ending is Ending.SOURCE_FAILED
    assert blob(SIZE).startswith(received)
    assert router.unreachable == ["dripping"]


async def test_a_source_that_drips_is_left_for_another_as_soon_as_a_silent_one(
    router: TableRouter,
    client: PeerClient,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    patient = TransferConfig(stall_timeout=0.6, slow_timeout=60.0, min_rate=20_000)
    fetcher = PeerBlobFetcher(router, client, patient)
    dripping = script_holder("dripping", is_paced(1000, blob(SIZE)))
    router.name_holders([dripping.peer], [dripping.peer, await serve_store("healthy", holding(blob(SIZE)))])

    with trio.fail_after(patient.slow_timeout / 3):
        delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert delivery.is_complete
    assert received == blob(SIZE)
    assert router.unreachable == ["dripping"]


async def test_where_the_first_byte_is_late_another_holder_is_asked_beside(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    small, digest = blob(1000), Digest.of(blob(1000))
    healthy = await serve_store("healthy", holding(small))
    late = script_holder("late", lambda head: answer(small, head, piece=1000, pause=LATE))
    router.name_holders([healthy])
    for _ in range(MIN_SAMPLES):
        await consume(await fetcher.open(digest))
    router.name_holders([late.peer, healthy])

    with trio.fail_after(LATE / 3):
        stream = await fetcher.open(digest)
        _, received = await consume(stream)

    assert (stream.source, received) == ("healthy", small)
    assert len(late.requests) == 1
    assert router.unreachable == []  # late is not dead


async def test_a_holder_that_answers_and_sends_no_byte_never_becomes_our_answer(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, blob: Blob
) -> None:
    empty = script_holder("empty", lambda head: answer(blob(SIZE), head, given=0))
    router.name_holders([empty.peer])

    with pytest.raises(AllHoldersFailedError) as caught:
        await fetcher.open(Digest.of(blob(SIZE)))

    assert caught.value.attempts == ("empty: it ended before its first byte",)


async def test_a_stream_whose_sources_are_gone_ends_after_those_that_began_before_it(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, blob: Blob
) -> None:
    digest = Digest.of(blob(SIZE))
    dying = script_holder("dying", lambda head: answer(blob(SIZE), head, given=100))
    router.name_holders([dying.peer])
    streams = [await fetcher.open(digest, start=start) for start in (0, 1000, 2000)]
    ended: list[int] = []

    async def use_up(stream: BlobStream) -> None:
        await stream.next_segment(stream.start)
        with pytest.raises(AllHoldersFailedError):
            await stream.next_segment(stream.start + 100)
        ended.append(stream.start)
        await stream.aclose(delivered=100)

    async with trio.open_nursery() as nursery:
        for stream in reversed(streams):
            nursery.start_soon(use_up, stream)
            await trio.testing.wait_all_tasks_blocked(0.05)

    assert ended == [0, 1000, 2000]
    assert len(router.lookups) <= 1 + len(streams)


async def test_after_two_empty_answers_the_client_is_sent_upstream(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, blob: Blob
) -> None:
    digest = Digest.of(blob(SIZE))
    holder = script_holder("holder", lambda head: answer(blob(SIZE), head, given=1))
    router.name_holders([holder.peer])
    for _ in range(2):
        stream = await fetcher.open(digest, start=10)
        await stream.next_segment(10)
        with pytest.raises(AllHoldersFailedError):
            await stream.next_segment(10)
        await stream.aclose(delivered=0)

    with pytest.raises(AllHoldersFailedError):
        await fetcher.open(digest, start=10)

    assert len(holder.requests) == 2
    await (await fetcher.open(digest, start=10)).aclose(delivered=0)


async def test_the_sources_of_wrong_bytes_are_not_asked_for_them_again(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, consume: Consume, blob: Blob
) -> None:
    digest = Digest.of(blob(SIZE))
    names = ("corrupt", "healthy")
    corrupt, healthy = [await serve_store(name, holding(blob(SIZE))) for name in names]
    router.name_holders([corrupt, healthy])
    assert (await consume(stream := await fetcher.open(digest)))[0].is_complete
    assert stream.source == "corrupt"

    fetcher.reject(digest)

    stream = await fetcher.open(digest)
    assert (stream.source, (await consume(stream))[1]) == ("healthy", blob(SIZE))
    router.name_holders([corrupt])
    with pytest.raises(AllHoldersFailedError):
        await fetcher.open(digest)
    with pytest.raises(AllHoldersFailedError):
        await fetcher.size(digest)


async def test_finding_a_source_takes_no_longer_than_it_may(
    router: TableRouter, script_holder: ScriptHolder, client: PeerClient, blob: Blob
) -> None:
    silent = [script_holder(f"silent-{number}", lambda head: None) for number in range(5)]
    router.name_holders([holder.peer for holder in silent])
    hurried = TransferConfig(first_byte_timeout=0.2, answer_timeout=0.5)
    fetcher = PeerBlobFetcher(router, client, hurried)
    digest = Digest.of(blob(1))

    for attempt in (fetcher.open, fetcher.size, fetcher.fetch_manifest):
        with trio.fail_after(10), pytest.raises(AllHoldersFailedError) as caught:
            await attempt(digest)
        assert caught.value.attempts[-1] == "no source within 0.5 s"
