import re
from collections.abc import Awaitable, Callable

import trio

from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, ScriptedHolder, TableRouter
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.stream import FIRST_PIECE

MIB = 1 << 20
BORDER = FIRST_PIECE + 2 * MIB
SIZE = BORDER + MIB

Consume = Callable[[BlobStream], Awaitable[tuple[Delivery, bytes]]]
Script = Callable[[str, Callable[[str], RawAnswer]], ScriptedHolder]


def sending(data: bytes, asked: list[tuple[int, int]]) -> Callable[[str], RawAnswer]:
    """The answers of a holder of `data`, which notes the first and the last byte of each range."""

    def answer(head: str) -> RawAnswer:
        found = re.search(r"range: bytes=(\d+)-(\d*)", head, re.IGNORECASE)
        assert found is not None
        first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
        asked.append((first, last))
        headers = {
            "Content-Length": str(last + 1 - first),
            "Content-Range": f"bytes {first}-{last}/{len(data)}",
        }
        return RawAnswer(206, headers, data[first : last + 1], Then.CLOSE)

    return answer


async def test_of_a_range_no_more_is_asked_for_than_up_to_the_next_one(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    script_holder: Script,
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    asked: list[tuple[int, int]] = []
    router.name_holders([script_holder("holder", sending(data, asked)).peer])
    digest = Digest.of(data)
    first = await fetcher.open(digest, start=0, is_range=True)
    second = await fetcher.open(digest, start=BORDER, is_range=True)

    segment = await first.next_segment(0)
    assert segment.length == FIRST_PIECE
    assert (await first.next_segment(FIRST_PIECE)).length == BORDER - FIRST_PIECE

    # The client has all it wanted of the first, and closes.
    with trio.move_on_after(0.1):
        await first.next_segment(BORDER)
    await first.aclose(delivered=BORDER)
    assert (await consume(second))[1] == data[BORDER:]
    assert sorted(asked) == [
        (0, FIRST_PIECE - 1),
        (FIRST_PIECE, BORDER - 1),
        (BORDER, SIZE - 1),
    ]


async def test_a_client_that_goes_on_into_the_next_range_gets_it(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    script_holder: Script,
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    router.name_holders([script_holder("holder", sending(data, [])).peer])
    digest = Digest.of(data)
    first = await fetcher.open(digest, start=0, is_range=True)
    second = await fetcher.open(digest, start=BORDER, is_range=True)

    assert (await consume(first))[1] == data
    assert (await consume(second))[1] == data[BORDER:]


async def test_a_range_whose_end_is_known_is_asked_for_in_one_piece(
    fetcher: PeerBlobFetcher,
    router: TableRouter,
    script_holder: Script,
    consume: Consume,
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    asked: list[tuple[int, int]] = []
    router.name_holders([script_holder("holder", sending(data, asked)).peer])

    stream = await fetcher.open(Digest.of(data), start=1, stop=SIZE - 1, is_range=True)

    assert (await consume(stream))[1] == data[1 : SIZE - 1]
    assert asked == [(1, SIZE - 2)]
