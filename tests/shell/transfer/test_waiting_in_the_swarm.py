from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobStream, SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError, FetchNeed, Holders, Peer
from spegel_gossip.splice.delivery import Delivery
from spegel_gossip.swarm.patience import HOLD_TIMEOUT, MAX_YIELDS
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, ScriptedHolder, TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.spreading import Spreading
from spegel_gossip.wire.client import PeerClient

SIZE = 300_000
LONG = 60.0
"""Seconds that no test waits for."""


class Owners:
    """Answers each question with the next of some answers, and keeps whoever asks once more waiting.

    Stands for the owners (`routing.FetchRouter`).
    """

    def __init__(self, answers: Sequence[Holders] = (), *, byteless: int = 0) -> None:
        self.needs: list[FetchNeed] = []
        self.byteless = byteless
        self._answers = list(answers)

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        self.needs.append(need)
        if not self._answers:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self._answers.pop(0)

    def place_of(self, digest: Digest) -> tuple[int, int]:
        return 0, 0

    def peer(self, name: str) -> Peer | None:
        return None

    def byteless_leases(self, *, but: Digest) -> int:
        return self.byteless


def fetcher_of(
    owners: Owners, client: PeerClient, digest: Digest, *, answer_timeout: float = LONG
) -> PeerBlobFetcher:
    """A fetcher whose containerd has an ingest open for a blob."""
    store: ContentStore = (memory := MemoryStore())
    memory.begin_ingest(digest, total=SIZE)
    config = TransferConfig(answer_timeout=answer_timeout, stall_timeout=LONG)
    return PeerBlobFetcher(TableRouter(), client, config, spreading=Spreading(owners, store))


async def test_a_slot_is_given_back_where_a_lease_here_waits_for_its_first_byte(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    fetcher = fetcher_of(Owners(byteless=1), client, digest, answer_timeout=HOLD_TIMEOUT * 5)
    for _ in range(MAX_YIELDS):
        with trio.fail_after(LONG / 3), pytest.raises(SlotYieldedError) as yielded:
            await fetcher.open(digest)
        assert (yielded.value.digest, yielded.value.size) == (digest, SIZE)

    # One more, and containerd would give the blob up.
    with trio.fail_after(LONG / 3), pytest.raises(AllHoldersFailedError, match="no source within"):
        await fetcher.open(digest)


async def test_a_request_is_held_where_no_lease_here_waits(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    fetcher = fetcher_of(Owners(), client, digest)

    with trio.move_on_after(HOLD_TIMEOUT * 2) as held:
        await fetcher.open(digest)

    assert held.cancelled_caught


async def test_without_any_word_from_the_owners_an_answer_ends_empty_twice_and_then_is_no(
    client: PeerClient,
) -> None:
    digest = Digest.of(b"waiting")
    fetcher = fetcher_of(Owners(), client, digest, answer_timeout=0.1)
    for _ in range(MAX_YIELDS):
        with pytest.raises(SlotYieldedError):
            await fetcher.open(digest)

    with pytest.raises(AllHoldersFailedError, match="no source within"):
        await fetcher.open(digest)


async def test_of_a_growing_source_that_falls_silent_its_owner_is_asked_for_another(
    client: PeerClient,
    script_holder: Callable[..., ScriptedHolder],
    serve_store: Callable[..., Awaitable[Peer]],
    consume: Callable[[BlobStream], Awaitable[tuple[Delivery, bytes]]],
    blob: Callable[[int], bytes],
) -> None:
    data = blob(SIZE)
    digest = Digest.of(data)
    head = {"Content-Length": str(SIZE)}
    silent = script_holder("silent", lambda _head: RawAnswer(200, head, data[:1_000], Then.STALL))
    whole = MemoryStore()
    whole.add_blob(data)
    owners = Owners(
        [
            Holders(digest, (silent.peer,), SIZE, patience=0.2, stamp=1),
            Holders(digest, (await serve_store("whole", whole),), SIZE),
        ]
    )
    stream = await fetcher_of(owners, client, digest).open(digest)

    with trio.fail_after(LONG / 3):
        delivery, received = await consume(stream)

    assert delivery.is_complete
    assert received == data
    assert [(need.stalled, need.offset) for need in owners.needs] == [((), 0), (("silent",), 1_000)]
