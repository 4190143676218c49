import gc
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
import trio
import trio.testing
from prometheus_client import REGISTRY

from shell.transfer.bench import Consume, ScriptHolder, ServeStore, holding
from spegel_gossip.content import ContentStore
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.fetching import BlobStream, SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import (
    AllHoldersFailedError,
    FetchLeasedError,
    FetchNeed,
    Holders,
    NoHolderError,
    Peer,
    Purpose,
    SlotWantedError,
)
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.swarm.patience import HOLD_TIMEOUT, MAX_YIELDS
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.holders import RawAnswer, ScriptedHolder, TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.hedging import Hedges
from spegel_gossip.transfer.opening import Wanted
from spegel_gossip.transfer.race import Opener
from spegel_gossip.transfer.reports import Reports
from spegel_gossip.transfer.sources import Sources
from spegel_gossip.transfer.spreading import Spreading, begins_first
from spegel_gossip.wire.client import PeerClient
from unit.transfer.stand_ins import Bystanders, FreeSlots

SIZE = 300_000
LONG = 60.0
"""Seconds that no test waits for."""


class Line(FreeSlots):
    """What is said of the line for slots, and what is heard of it."""

    def __init__(self, byteless: int) -> None:
        super().__init__()
        self.byteless = byteless
        self.is_pressed = False

    def are_wanted(self, *, but: Digest) -> bool:
        return self.is_pressed

    def waiting_leases(self, *, but: Digest) -> int:
        return self.byteless


class Owners(Bystanders):
    """Answers each question with the next of some answers, and keeps whoever asks once more waiting.

    Stands for the owners (`routing.FetchRouter`).
    """

    def __init__(self, answers: Sequence[Holders] = (), *, byteless: int = 0) -> None:
        super().__init__()
        self.slots = Line(byteless)
        self.word: type[SlotWantedError | FetchLeasedError] = SlotWantedError
        """What one that gives way is told."""

        self._answers = list(answers)

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        self.needs.append(need)
        if need.gives_way:
            raise self.word(digest)
        if not self._answers:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self._answers.pop(0)


def received_now() -> float:
    return REGISTRY.get_sample_value("spegel_gossip_transfer_in_flight", {"direction": "received"}) or 0.0


def fetcher_of(
    owners: Owners,
    client: PeerClient,
    digest: Digest,
    *,
    answer_timeout: float = LONG,
    reports: Reports | None = None,
) -> PeerBlobFetcher:
    """A fetcher whose containerd has an ingest open for a blob."""
    store: ContentStore = (memory := MemoryStore())
    memory.begin_ingest(digest, total=SIZE)
    config = TransferConfig(answer_timeout=answer_timeout, stall_timeout=LONG)
    return PeerBlobFetcher(TableRouter(), client, config, spreading=Spreading(owners, store), reports=reports)


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


async def test_where_more_leases_wait_a_slot_is_given_back_at_once_and_once(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    owners = Owners()
    owners.slots.is_pressed = True
    fetcher = fetcher_of(owners, client, digest, answer_timeout=HOLD_TIMEOUT * 5)
    with trio.fail_after(LONG / 3), pytest.raises(SlotYieldedError):
        await fetcher.open(digest)
    assert [need.gives_way for need in owners.needs] == [True]
    assert owners.slots.came == []
    given_by = trio.current_time()

    with trio.fail_after(LONG / 3), pytest.raises(SlotYieldedError):
        await fetcher.open(digest)
    assert [need.gives_way for need in owners.needs] == [True, False], "then it waits as long as it may"
    [given_at] = owners.slots.came
    assert given_at == pytest.approx(given_by, abs=1.0)


async def test_where_more_leases_wait_a_further_one_is_taken_all_the_same(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    owners = Owners()
    owners.slots.is_pressed, owners.word = True, FetchLeasedError
    fetcher = fetcher_of(owners, client, digest)
    with trio.fail_after(LONG / 3), pytest.raises(FetchLeasedError):
        await fetcher.open(digest)
    assert [need.gives_way for need in owners.needs] == [True]


async def test_who_bears_no_answer_without_a_byte_gets_none(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    owners = Owners(byteless=1)
    owners.slots.is_pressed = True
    memory = MemoryStore()
    memory.begin_ingest(digest, total=SIZE)
    config = TransferConfig(answer_timeout=HOLD_TIMEOUT * 3, stall_timeout=LONG)
    spreading = Spreading(owners, memory, can_yield=False)
    fetcher = PeerBlobFetcher(TableRouter(), client, config, spreading=spreading)
    with trio.fail_after(LONG / 3), pytest.raises(AllHoldersFailedError):
        await fetcher.open(digest)
    assert [need.is_last for need in owners.needs] == [True]
    assert spreading.yields == 0


async def test_one_range_of_several_is_not_given_back_at_once(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    owners = Owners()
    fetcher = fetcher_of(owners, client, digest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(fetcher.open, digest, is_range=True))
        await trio.testing.wait_all_tasks_blocked()
        owners.slots.is_pressed = True
        nursery.start_soon(partial(fetcher.open, digest, start=SIZE // 2, is_range=True))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(owners.needs) == 2
    assert owners.slots.came == []


async def test_owners_hear_of_a_request_that_ends_before_its_blob(
    client: PeerClient, serve_store: ServeStore, consume: Consume
) -> None:
    digest = Digest.of(bytes(SIZE))
    whole = Holders(digest, (await serve_store("whole", holding(bytes(SIZE))),), SIZE)
    owners = Owners([whole, whole])
    fetcher = fetcher_of(owners, client, digest)
    await consume(await fetcher.open(digest))
    assert owners.gone == []

    stream = await fetcher.open(digest)
    await stream.aclose(delivered=SIZE - 1)
    assert owners.gone == [digest]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.open, digest)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert owners.gone == [digest, digest]


async def test_of_three_requests_that_wait_together_two_give_their_slots_back(client: PeerClient) -> None:
    digest = Digest.of(b"waiting")
    fetcher = fetcher_of(Owners(byteless=1), client, digest, answer_timeout=HOLD_TIMEOUT * 5)
    outcomes = []

    async def ask(start: int) -> None:
        try:
            await fetcher.open(digest, start=start, is_range=True)
        except SpegelGossipError as exc:
            outcomes.append(type(exc))

    with trio.fail_after(LONG / 3):
        async with trio.open_nursery() as nursery:
            for start in (0, SIZE // 3, SIZE // 2):
                nursery.start_soon(ask, start)

    assert outcomes == [SlotYieldedError, SlotYieldedError, AllHoldersFailedError]


async def test_what_has_begun_stays_begun_where_its_slot_is_wanted_in_the_same_moment() -> None:
    first_byte = trio.Event()

    async def wait() -> None:
        first_byte.set()

    assert await begins_first(first_byte.wait, wait)
    assert not await begins_first(trio.sleep_forever, trio.lowlevel.checkpoint)


class LeavingWhen(Reports):
    """The client goes at the moment in which its answer has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.client = trio.CancelScope()

    def opened(self, digest: Digest) -> None:
        super().opened(digest)
        self.client.cancel()


async def test_an_answer_whose_client_leaves_as_it_begins_is_closed(
    client: PeerClient, serve_store: ServeStore
) -> None:
    digest = Digest.of(bytes(SIZE))
    owners = Owners([Holders(digest, (await serve_store("whole", holding(bytes(SIZE))),), SIZE)])
    reports = LeavingWhen()
    fetcher = fetcher_of(owners, client, digest, reports=reports)
    in_flight = received_now()

    with reports.client:
        await fetcher.open(digest)

    assert reports.client.cancelled_caught
    assert received_now() == in_flight


class OnceThenNobody(Owners):
    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        if not self._answers:
            raise NoHolderError(digest)
        return await super().lookup_to_fetch(digest, need)


async def test_a_request_whose_client_left_at_once_keeps_no_later_one_from_ending(
    client: PeerClient, script_holder: ScriptHolder, consume: Consume
) -> None:
    digest = Digest.of(b"cut")
    head = {"Content-Length": str(SIZE - 1_000), "Content-Range": f"bytes 1000-{SIZE - 1}/{SIZE}"}
    holder = script_holder("short", lambda _head: RawAnswer(206, head, bytes(500), Then.CLOSE))
    fetcher = fetcher_of(OnceThenNobody([Holders(digest, (holder.peer,), SIZE)]), client, digest)
    with trio.CancelScope() as left:
        left.cancel()
        await fetcher.open(digest)

    # It ends when no stream of the blob is open that began before it.
    stream = await fetcher.open(digest, start=1_000)
    with trio.fail_after(LONG / 6):
        delivery, received = await consume(stream)

    assert len(received) == 500
    assert delivery.ending is Ending.SOURCE_FAILED


class LeavingHedges(Hedges):
    """The client goes at the moment in which a holder has answered; a second one waits to be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.client = trio.CancelScope()

    def answered(self, seconds: float) -> None:
        super().answered(seconds)
        self.client.cancel()

    @property
    def delay(self) -> float:
        return LONG


async def test_a_connection_whose_client_leaves_as_its_holder_answers_is_closed(
    client: PeerClient, router: TableRouter, serve_store: ServeStore
) -> None:
    digest = Digest.of(bytes(SIZE))
    router.name_holders([await serve_store("whole", holding(bytes(SIZE)))])
    sources = Sources(router, digest, Purpose.FETCH, limit=1, is_banned=lambda _digest, _name: False)
    hedges = LeavingHedges()

    with hedges.client:
        await Opener(client, sources, hedges, LONG).open(Wanted(digest))

    # That it was not left to the collector is what a warning would say.
    gc.collect()
    assert hedges.client.cancelled_caught


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
            Holders(digest, (silent.peer,), SIZE, patience=1.0, stamp=1),
            Holders(digest, (await serve_store("whole", whole),), SIZE),
        ]
    )
    stream = await fetcher_of(owners, client, digest).open(digest)

    with trio.fail_after(LONG / 3):
        delivery, received = await consume(stream)

    assert delivery.is_complete
    assert received == data
    told = [([complaint.source for complaint in need.stalled], need.offset) for need in owners.needs]
    assert told == [([], 0), (["silent"], 1_000)]


async def test_only_what_containerd_ingests_spreads_and_only_in_a_swarm(client: PeerClient) -> None:
    ingested, other = Digest.of(b"ingested"), Digest.of(b"other")
    fetcher = fetcher_of(Owners(), client, ingested)
    assert await fetcher.spreads(ingested)
    assert not await fetcher.spreads(other)
    alone = PeerBlobFetcher(TableRouter(), client, TransferConfig())
    assert not await alone.spreads(ingested)
