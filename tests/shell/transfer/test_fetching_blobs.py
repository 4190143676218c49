from collections.abc import Mapping

import pytest

from shell.transfer.bench import Blob, Consume, ScriptHolder, ServeStore, holding
from spegel_gossip.content import Availability
from spegel_gossip.fetching import BlobFetcher
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.routing import (
    AllHoldersFailedError,
    NoHolderError,
    OwnersUnreachableError,
    Peer,
    Purpose,
)
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.fetcher import PeerBlobFetcher

MIB = 1 << 20
SIZE = 2 * MIB + 5


def whole(
    data: bytes, *, given: int | None = None, then: Then = Then.STALL, length: int | None = None
) -> RawAnswer:
    """An answer to a request without a range, which may break off or lie about its length."""
    headers = {"Content-Length": str(len(data) if length is None else length)}
    return RawAnswer(200, headers, data if given is None else data[:given], then)


async def test_the_fetcher_is_what_the_port_asks_for(fetcher: PeerBlobFetcher) -> None:
    port: BlobFetcher = fetcher

    assert port is fetcher


@pytest.mark.parametrize("size", [0, 1, 4096, 65_537, SIZE])
@pytest.mark.parametrize("has_descriptors", [True, False])
async def test_a_blob_arrives_whole_from_its_holder(
    size: int,
    has_descriptors: bool,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    consume: Consume,
    blob: Blob,
) -> None:
    store = MemoryStore(has_descriptors=has_descriptors)
    digest = store.add_blob(blob(size))
    router.name_holders([await serve_store("a", store)])

    for _ in range(3):  # the second and third go over the first one's connection
        stream = await fetcher.open(digest)
        assert (stream.size, stream.start, stream.stop, stream.source) == (size, 0, size, "a")
        delivery, received = await consume(stream)
        assert delivery.is_complete
        assert received == blob(size)

    assert router.transfers == [("a", size)] * 3
    assert router.lookups[0] == (digest, Purpose.FETCH)


@pytest.mark.parametrize(
    ("start", "stop", "expected_stop"),
    [
        (0, 1, 1),
        (1, None, SIZE),
        (100_001, 1_200_000, 1_200_000),
        (SIZE - 1, None, SIZE),
        (5, SIZE + 99, SIZE),
    ],
)
async def test_a_range_of_a_blob_arrives_exactly(
    start: int,
    stop: int | None,
    expected_stop: int,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    consume: Consume,
    blob: Blob,
) -> None:
    store = holding(blob(SIZE))
    router.name_holders([await serve_store("a", store)])

    stream = await fetcher.open(Digest.of(blob(SIZE)), start=start, stop=stop)
    _, received = await consume(stream)

    assert (stream.size, stream.start, stream.stop) == (SIZE, start, expected_stop)
    assert received == blob(SIZE)[start:expected_stop]


async def test_a_range_behind_the_end_is_the_askers_mistake(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, blob: Blob
) -> None:
    router.name_holders([await serve_store("a", holding(blob(100)))])

    with pytest.raises(InvalidRangeError) as caught:
        await fetcher.open(Digest.of(blob(100)), start=100)

    assert caught.value.size == 100


async def test_a_holder_whose_copy_is_shorter_than_the_directory_says_is_not_believed(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    stump = script_holder(
        "stump", lambda head: RawAnswer(416, {"Content-Range": "bytes */10", "Content-Length": "0"})
    )
    router.size = SIZE
    router.name_holders([stump.peer, await serve_store("a", holding(blob(SIZE)))])

    stream = await fetcher.open(Digest.of(blob(SIZE)), start=100)
    _, received = await consume(stream)

    assert received == blob(SIZE)[100:]


async def test_nobody_has_it(fetcher: PeerBlobFetcher, blob: Blob) -> None:
    with pytest.raises(NoHolderError):
        await fetcher.open(Digest.of(blob(1)))


async def test_nobody_could_be_asked(fetcher: PeerBlobFetcher, router: TableRouter, blob: Blob) -> None:
    router.is_reachable = False

    with pytest.raises(OwnersUnreachableError):
        await fetcher.open(Digest.of(blob(1)))


async def test_a_holder_without_the_blob_is_reported_and_the_next_one_asked(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, consume: Consume, blob: Blob
) -> None:
    digest = Digest.of(blob(SIZE))
    router.name_holders(
        [await serve_store("empty", MemoryStore()), await serve_store("full", holding(blob(SIZE)))]
    )

    _, received = await consume(await fetcher.open(digest))

    assert received == blob(SIZE)
    assert router.misses == [(digest, "empty")]
    assert router.unreachable == []


async def test_a_holder_that_cannot_be_reached_is_reported_and_the_next_one_asked(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    consume: Consume,
    dead_peer: Peer,
    blob: Blob,
) -> None:
    router.name_holders([dead_peer, await serve_store("a", holding(blob(SIZE)))])

    _, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert received == blob(SIZE)
    assert router.unreachable == ["dead"]
    assert router.misses == []


async def test_a_holder_whose_store_is_down_is_passed_over_without_a_report(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, consume: Consume, blob: Blob
) -> None:
    store = MemoryStore()
    store.set_availability(Availability(is_connected=False, is_readable=False, reason="gone"))
    router.name_holders([await serve_store("down", store), await serve_store("a", holding(blob(SIZE)))])

    _, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert received == blob(SIZE)
    assert (router.misses, router.unreachable) == ([], [])


WRONG_ANSWERS: Mapping[str, RawAnswer | None] = {
    "silence": None,
    "no head": RawAnswer(200, {}, b"", Then.CLOSE),
    "a reset": RawAnswer(200, {}, b"", Then.RESET),
    "an error": RawAnswer(500, {"Content-Length": "0"}),
    "a redirect": RawAnswer(307, {"Content-Length": "0", "Location": "http://elsewhere/"}),
    "a refusal": RawAnswer(401, {"Content-Length": "0"}),
    "busy": RawAnswer(503, {"Content-Length": "0", "Spegel-Gossip-Busy": "9"}),
    "a range nobody asked for": RawAnswer(
        206, {"Content-Length": "5", "Content-Range": "bytes 0-4/5"}, b"12345"
    ),
    "no length": RawAnswer(200, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
}


@pytest.mark.parametrize("wrong", WRONG_ANSWERS)
async def test_after_a_useless_answer_the_next_holder_is_asked(
    wrong: str,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    useless = script_holder("useless", lambda head: WRONG_ANSWERS[wrong])
    router.name_holders([useless.peer, await serve_store("a", holding(blob(SIZE)))])

    stream = await fetcher.open(Digest.of(blob(SIZE)))
    _, received = await consume(stream)

    assert received == blob(SIZE)
    assert stream.source == "a"


WRONG_RANGES: Mapping[str, RawAnswer] = {
    "the whole blob": RawAnswer(200, {"Content-Length": str(SIZE)}),
    "another start": RawAnswer(
        206, {"Content-Length": str(SIZE), "Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    ),
    "an earlier end": RawAnswer(206, {"Content-Length": "2", "Content-Range": f"bytes 1000-1001/{SIZE}"}),
    "a length that does not fit": RawAnswer(
        206, {"Content-Length": "2", "Content-Range": f"bytes 1000-{SIZE - 1}/{SIZE}"}
    ),
    "another size": RawAnswer(
        206, {"Content-Length": str(SIZE - 999), "Content-Range": f"bytes 1000-{SIZE}/{SIZE + 1}"}
    ),
    "an unknown size": RawAnswer(
        206, {"Content-Length": str(SIZE - 1000), "Content-Range": f"bytes 1000-{SIZE - 1}/*"}
    ),
    "no such range": RawAnswer(416, {"Content-Length": "0", "Content-Range": "bytes */1000"}),
}


@pytest.mark.parametrize("wrong", WRONG_RANGES)
async def test_a_second_holder_that_does_not_go_on_exactly_is_passed_over(
    wrong: str,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    first = script_holder("first", lambda head: whole(blob(SIZE), given=1000, then=Then.CLOSE))
    second = script_holder("second", lambda head: WRONG_RANGES[wrong])
    router.name_holders([first.peer, second.peer, await serve_store("a", holding(blob(SIZE)))])

    delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert delivery.is_complete
    assert received == blob(SIZE)
    assert "range: bytes=1000-" in second.requests[0].lower()


@pytest.mark.parametrize("then", list(Then))
@pytest.mark.parametrize("given", [0, 1, 700_000])
async def test_a_source_that_dies_in_the_middle_is_replaced_within_the_same_body(
    then: Then,
    given: int,
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    dying = script_holder("dying", lambda head: whole(blob(SIZE), given=given, then=then))
    router.name_holders([dying.peer, await serve_store("a", holding(blob(SIZE)))])

    delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert delivery == Delivery(SIZE, Ending.COMPLETE)
    assert received == blob(SIZE)
    assert router.unreachable == (["dying"] if then is Then.STALL else [])
    if then is not Then.RESET:
        # Whose first byte never came was no transfer: we had promised nothing yet.
        assert router.transfers == [("dying", given), ("a", SIZE - given)][0 if given else 1 :]


async def test_when_the_list_is_used_up_the_owners_are_asked_again(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    serve_store: ServeStore,
    script_holder: ScriptHolder,
    consume: Consume,
    blob: Blob,
) -> None:
    dying = script_holder("dying", lambda head: whole(blob(SIZE), given=5000, then=Then.CLOSE))
    newcomer = await serve_store("newcomer", holding(blob(SIZE)))
    router.name_holders([dying.peer], [dying.peer, newcomer])

    delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert delivery.is_complete
    assert received == blob(SIZE)
    assert len(dying.requests) == 1  # named again, but each holder is tried once


async def test_when_every_source_died_the_body_ends_short(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, consume: Consume, blob: Blob
) -> None:
    dying = script_holder("dying", lambda head: whole(blob(SIZE), given=5000, then=Then.CLOSE))
    router.name_holders([dying.peer])

    delivery, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert (delivery.moved, delivery.ending) == (5000, Ending.SOURCE_FAILED)
    assert "dying: its connection ended in the middle" in delivery.detail
    assert received == blob(SIZE)[:5000]


async def test_no_more_holders_are_tried_than_the_limit(
    fetcher: PeerBlobFetcher, router: TableRouter, script_holder: ScriptHolder, blob: Blob
) -> None:
    holders = [script_holder(f"h{i}", lambda head: RawAnswer(404, {"Content-Length": "0"})) for i in range(7)]
    router.name_holders([holder.peer for holder in holders])

    with pytest.raises(AllHoldersFailedError) as caught:
        await fetcher.open(Digest.of(blob(1)))

    assert caught.value.attempts == tuple(f"h{i}: it does not have it" for i in range(5))
    assert [len(holder.requests) for holder in holders] == [1, 1, 1, 1, 1, 0, 0]


async def test_a_stream_that_was_not_read_to_its_end_does_not_spoil_the_connection(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, consume: Consume, blob: Blob
) -> None:
    router.name_holders([await serve_store("a", holding(blob(SIZE)))])
    abandoned = await fetcher.open(Digest.of(blob(SIZE)))
    await abandoned.next_segment(0)
    await abandoned.aclose(delivered=0)

    _, received = await consume(await fetcher.open(Digest.of(blob(SIZE))))

    assert received == blob(SIZE)


async def test_the_size_is_asked_of_the_next_holder_where_the_first_lacks_it(
    fetcher: PeerBlobFetcher, router: TableRouter, serve_store: ServeStore, blob: Blob
) -> None:
    digest = Digest.of(blob(SIZE))
    router.name_holders(
        [await serve_store("empty", MemoryStore()), await serve_store("full", holding(blob(SIZE)))]
    )

    assert await fetcher.size(digest) == SIZE
    assert router.misses == [(digest, "empty")]
    assert router.lookups == [(digest, Purpose.READ)]
