from collections.abc import Sequence

import pytest
import trio
import trio.testing

from spegel_gossip.content import PartialStatus
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import (
    AllHoldersFailedError,
    FetchNeed,
    Holders,
    NoHolderError,
    OwnersUnreachableError,
    Peer,
    Purpose,
)
from spegel_gossip.testing.holders import TableRouter
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.siblings import Families, Family
from spegel_gossip.transfer.sources import Sources
from spegel_gossip.transfer.spreading import Spreading, SpreadingLookup
from unit.transfer.stand_ins import Bystanders, FreeSlots

DIGEST = Digest.of(b"blob")
A, B, C = (Peer(name, "", ()) for name in "abc")


def make(
    router: TableRouter,
    *,
    limit: int = 5,
    banned: Sequence[str] = (),
    family: Family | None = None,
    spreading: SpreadingLookup | None = None,
) -> Sources:
    return Sources(
        router,
        DIGEST,
        Purpose.FETCH,
        limit=limit,
        is_banned=lambda _digest, name: name in banned,
        family=family,
        spreading=spreading,
    )


class Owner(Bystanders):
    """Names one source to each asker: the first that did not fail it (`routing.FetchRouter`)."""

    def __init__(self, *, patience: float | None = None) -> None:
        super().__init__()
        self.patience = patience
        self.slots = FreeSlots()

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        self.needs.append(need)
        await trio.lowlevel.checkpoint()
        named = tuple(peer for peer in (A, B) if peer.name not in need.failed)[:1]
        return Holders(digest, named, 10, patience=self.patience)


async def drain(sources: Sources) -> list[str]:
    names: list[str] = []
    try:
        while True:
            names.append((await sources.next()).name)
    except AllHoldersFailedError:
        return names


async def test_holders_come_in_the_routers_order() -> None:
    router = TableRouter()
    router.name_holders([B, A, C])

    assert await drain(make(router)) == ["b", "a", "c"]


async def test_a_holder_named_twice_is_tried_once() -> None:
    router = TableRouter()
    router.name_holders([A, A, B], [B, C, A], [C])

    assert await drain(make(router)) == ["a", "b", "c"]


async def test_the_limit_counts_over_all_lookups() -> None:
    router = TableRouter()
    router.name_holders([A], [B], [C])

    assert await drain(make(router, limit=2)) == ["a", "b"]
    assert len(router.lookups) == 2


async def test_no_owner_to_ask_at_first_is_no_holder_that_failed() -> None:
    router = TableRouter()
    router.is_reachable = False
    with pytest.raises(OwnersUnreachableError):
        await make(router).next()

    router.is_reachable = True
    with pytest.raises(NoHolderError):
        await make(router).next()


async def test_no_owner_to_ask_later_leaves_the_holders_that_failed() -> None:
    router = TableRouter()
    router.name_holders([A])
    sources = make(router)
    sources.give_up(await sources.next(), HolderFailedError(Reason.BUSY, "it is busy"))
    router.is_reachable = False

    with pytest.raises(AllHoldersFailedError) as caught:
        await sources.next()

    assert caught.value.attempts == ("a: it is busy",)


@pytest.mark.parametrize("reason", list(Reason))
async def test_the_router_hears_of_misses_and_of_silence(reason: Reason) -> None:
    router = TableRouter()

    make(router).give_up(A, HolderFailedError(reason, "whatever"))

    assert router.misses == ([(DIGEST, "a")] if reason is Reason.MISS else [])
    assert router.unreachable == (
        ["a"] if reason in {Reason.UNREACHABLE, Reason.STALLED, Reason.SLOW} else []
    )


async def test_a_banned_holder_is_not_asked_and_the_answer_says_why() -> None:
    router = TableRouter()
    router.name_holders([A, B])
    sources = make(router, banned=["a"])

    assert (await sources.next()).name == "b"
    with pytest.raises(AllHoldersFailedError) as caught:
        await sources.next()

    assert [attempt.split(":")[0] for attempt in caught.value.attempts] == ["a"]
    assert router.unreachable == []


async def test_an_owner_that_names_a_banned_holder_is_asked_for_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spreading = Spreading(Owner(), MemoryStore())
    lookup = SpreadingLookup(TableRouter(), spreading, DIGEST, PartialStatus(0, 10), start=0, can_yield=True)

    assert (await make(TableRouter(), banned=["a"], spreading=lookup).next()).name == "b"


@pytest.mark.parametrize("reason", [Reason.MISS, Reason.EMPTY])
@pytest.mark.parametrize(
    ("patience", "told"),
    [
        (3.0, [((), ()), (("a",), ()), ((), ("a",))]),
        (None, [((), ()), ((), ("a",))]),
    ],
)
async def test_a_growing_source_that_has_nothing_to_give_has_failed_the_second_time(
    reason: Reason,
    patience: float | None,
    told: list[tuple[tuple[str, ...], tuple[str, ...]]],
    autojump_clock: trio.testing.MockClock,
) -> None:
    owner = Owner(patience=patience)
    spreading = Spreading(owner, MemoryStore())
    lookup = SpreadingLookup(TableRouter(), spreading, DIGEST, PartialStatus(0, 10), start=0, can_yield=True)
    sources = make(TableRouter(), spreading=lookup)
    for _ in told[1:]:
        sources.give_up(await sources.next(), HolderFailedError(reason, "nothing came"))
    await sources.next()

    assert [(need.busy, need.failed) for need in owner.needs] == told


@pytest.mark.parametrize(("patience", "failed"), [(3.0, ()), (None, ("a",))])
async def test_a_growing_source_that_is_slow_is_not_blamed_for_the_line_of_whoever_asks(
    patience: float | None, failed: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    owner = Owner(patience=patience)
    spreading = Spreading(owner, MemoryStore())
    lookup = SpreadingLookup(TableRouter(), spreading, DIGEST, PartialStatus(0, 10), start=0, can_yield=True)
    sources = make(TableRouter(), spreading=lookup)
    sources.give_up(await sources.next(), HolderFailedError(Reason.SLOW, "little came"))
    await sources.next()

    assert owner.needs[1].failed == failed
    assert owner.needs[1].busy == (() if failed else ("a",))


async def test_an_owner_is_asked_for_another_source_than_one_that_is_avoided(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lookup = SpreadingLookup(
        TableRouter(),
        Spreading(Owner(), MemoryStore()),
        DIGEST,
        PartialStatus(0, 10),
        start=0,
        can_yield=True,
    )
    sources = make(TableRouter(), spreading=lookup)
    assert (await sources.next()).name == "a"

    sources.avoid(A)
    assert (await sources.next()).name == "b"

    sources.avoid_no_more(A)
    assert (await sources.next()).name == "a"


async def test_a_size_that_containerd_wrote_a_moment_after_the_ingest_is_known_to_the_owner(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    owner = Owner()
    spreading = Spreading(owner, store)
    lookup = SpreadingLookup(TableRouter(), spreading, DIGEST, PartialStatus(0, 0), start=0, can_yield=True)
    assert lookup.total == 0

    store.begin_ingest(DIGEST, total=10)
    await lookup.find()

    assert lookup.total == 10
    assert (owner.needs[-1].total, owner.needs[-1].is_last) == (10, False)


async def test_where_all_that_one_owner_names_are_banned_every_owner_is_asked_once() -> None:
    router = TableRouter()
    router.name_holders([A], [A, B])
    sources = make(router, banned=["a"])

    assert await drain(sources) == ["b"]
    assert [purpose for _, purpose in router.lookups].count(Purpose.SEARCH) == 1


async def test_a_holder_that_was_not_needed_may_be_asked_again() -> None:
    router = TableRouter()
    router.name_holders([A, B])
    sources = make(router, limit=2)
    first, second = await sources.next(), await sources.next()

    sources.put_back(second)

    assert await drain(sources) == ["b"]
    assert first == A


async def test_streams_that_begin_in_the_same_moment_look_up_once() -> None:
    router = TableRouter()
    router.name_holders([A, B, C])
    family = Families().join(DIGEST, 0).family

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(make(router, family=family).next)

    assert len(router.lookups) == 1


async def test_a_stream_whose_holders_failed_looks_up_anew() -> None:
    router = TableRouter()
    router.name_holders([A], [B])
    family = Families().join(DIGEST, 0).family
    sources = make(router, family=family)

    assert await drain(sources) == ["a", "b"]
    assert (await make(router, family=family).next()).name == "b"
    assert len(router.lookups) == 3


async def test_the_streams_of_one_blob_share_a_lookup_and_spread_over_its_holders() -> None:
    router = TableRouter()
    router.name_holders([A, B, C])
    families = Families()
    chosen = []
    for start in range(0, 60, 10):
        sibling = families.join(DIGEST, start)
        sibling.holder = (await make(router, family=sibling.family).next()).name
        chosen.append(sibling.holder)

    assert chosen == ["a", "b", "c", "a", "b", "c"]
    assert len(router.lookups) == 1
