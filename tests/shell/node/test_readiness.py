import pytest
import trio
from trio.testing import MockClock

from spegel_gossip.content import Availability
from spegel_gossip.node.readiness import SEED_PATIENCE, Readiness
from spegel_gossip.testing.memory_store import MemoryStore

AWAY = Availability(is_connected=False, is_readable=True, reason="containerd is away: start it")
UNREADABLE = Availability(is_connected=False, is_readable=False, reason="nothing can be read: mount it")


def readiness(
    store: MemoryStore | None = None, *, has_seeds: bool = False, company: list[bool] | None = None
) -> Readiness:
    known = company if company is not None else [False]
    return Readiness(
        store=store or MemoryStore(), has_seeds=has_seeds, has_company=lambda: known[-1], concerns=[]
    )


async def test_nobody_is_sent_to_a_node_whose_listeners_are_not_open() -> None:
    assert not readiness().check().is_ready


async def test_alone_without_seeds_is_ready_at_once() -> None:
    node = readiness()
    node.listening(trio.current_time())
    assert node.check().is_ready
    assert node.check().reasons == ()


async def test_a_seed_that_does_not_answer_is_waited_for_a_second_and_no_longer(
    autojump_clock: MockClock,
) -> None:
    node = readiness(has_seeds=True)
    node.listening(trio.current_time())
    assert not node.check().is_ready
    await trio.sleep(SEED_PATIENCE)
    assert node.check().is_ready
    assert "no seed reached" in node.check().reasons[0]


async def test_a_seed_that_was_reached_makes_the_node_ready() -> None:
    company = [False]
    node = readiness(has_seeds=True, company=company)
    node.listening(trio.current_time())
    company.append(True)
    assert node.check().is_ready
    assert node.check().reasons == ()


@pytest.mark.parametrize(("availability", "is_ready"), [(AWAY, True), (UNREADABLE, False)])
async def test_a_store_that_is_away_matters_only_if_nothing_can_be_read(
    availability: Availability, is_ready: bool
) -> None:
    store = MemoryStore()
    store.set_availability(availability)
    node = readiness(store)
    node.listening(trio.current_time())
    assert node.check().is_ready is is_ready
    assert node.check().reasons == (availability.reason,)


async def test_a_node_on_its_way_out_is_not_ready() -> None:
    node = readiness()
    node.listening(trio.current_time())
    node.stopping()
    assert not node.check().is_ready
