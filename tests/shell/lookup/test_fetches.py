from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from shell.held_loop import hold_the_loop
from shell.lookup.nodes import Node, Nodes, until_true
from spegel_gossip.content import BlobAdded, PartialChanged, PartialLeft, PartialRemoved, PartialStatus
from spegel_gossip.directory import leases
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import (
    FetchLeasedError,
    FetchNeed,
    FetchRouter,
    Holders,
    NoHolderError,
    SlotWantedError,
)

BLOB = Digest.of(b"a blob that everybody wants")
MIB = 1 << 20
NEED = FetchNeed(0, 100 * MIB)
LONG = 600.0


async def cluster(nodes: Nodes, *names: str) -> list[Node]:
    made = [await nodes.make(name) for name in names]
    for number, node in enumerate(made):
        node.meets(*made[number + 1 :])
    await until_true(lambda: all(len(node.lookup.owners(BLOB)) == min(3, len(made)) for node in made))
    return made


def first_owner(made: list[Node]) -> Node:
    return next(node for node in made if node.name == made[0].lookup.owners(BLOB)[0])


async def find(node: Node, need: FetchNeed = NEED) -> Holders | None:
    """Return whom to read from, or None where this node is to fetch it."""
    try:
        with trio.fail_after(10.0):
            return await node.lookup.fetches.lookup_to_fetch(BLOB, need)
    except FetchLeasedError:
        return None


class Turns(trio.abc.Instrument):
    """Counts the turns of everything but the test."""

    def __init__(self, test: trio.lowlevel.Task) -> None:
        self._test = test
        self.taken = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += task is not self._test


def port(node: Node) -> FetchRouter:
    return node.lookup.fetches


async def test_one_node_fetches_and_the_others_read_its_growing_copy(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    found = [await find(node) for node in made]
    assert found[0] is None
    for one in found[1:]:
        assert one is not None
        assert one.patience is not None
        assert len(one.holders) == 1


async def test_a_node_alone_is_sent_upstream_at_once(nodes: Nodes) -> None:
    [alone] = await cluster(nodes, "a")
    started_at = trio.current_time()
    assert await find(alone) is None
    assert trio.current_time() - started_at < 1.0
    assert port(alone).slots.waiting_leases(but=Digest.of(b"another")) == 1


async def test_an_ingest_that_grows_wakes_nobody_before_its_owners_are_to_be_told(nodes: Nodes) -> None:
    [alone] = await cluster(nodes, "a")
    assert await find(alone) is None
    turns = Turns(trio.lowlevel.current_task())
    trio.lowlevel.add_instrument(turns)
    for step in range(1, 201):
        await alone.lookup.on_content(PartialChanged(BLOB, PartialStatus(step, 100 * MIB)))
        await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(turns)
    # The first byte is news; after it there are two reports a second, and a look at the leases every 0.25 s.
    assert 0 < turns.taken < 100
    assert port(alone).place_of(BLOB) == (200, 0)


async def test_who_waits_hears_of_the_first_whole_copy(nodes: Nodes) -> None:
    first, second, third = await cluster(nodes, "a", "b", "c")
    assert await find(first) is None
    answers: list[Holders | None] = []

    async def wait_for_it() -> None:
        # Without a total nobody can be told to read a growing copy.
        answers.append(await find(second, FetchNeed(0, 0)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_it)
        await trio.sleep(0.3)
        assert not answers
        await first.lookup.on_content(BlobAdded(BLOB, 1_000))
    [found] = answers
    assert found is not None
    assert found.holders[0].name == "a"
    assert third.lookup.fetches.receptions.next_report_at() is None


async def test_the_owner_of_a_blob_hears_that_a_request_waits_no_more(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "WAIT_TIMEOUT", LONG)
    monkeypatch.setattr(leases, "RECEIVER_TIMEOUT", LONG)
    made = await cluster(nodes, "a", "b", "c")
    assert await find(made[0]) is None

    def waiting() -> int:
        return sum(node.lookup.fetches.desk.leases.waiting() for node in made)

    async with trio.open_nursery() as nursery:
        # Without a total nobody can be told to read a growing copy.
        nursery.start_soon(find, made[1], FetchNeed(0, 0))
        await until_true(lambda: waiting() == 1)
        nursery.cancel_scope.cancel()
    assert waiting() == 1

    port(made[1]).left(BLOB)
    await until_true(lambda: waiting() == 0)


async def test_a_source_that_is_skipped_here_for_a_while_is_read_from_before_a_second_node_fetches(
    nodes: Nodes,
) -> None:
    first, second, _ = await cluster(nodes, "a", "b", "c")
    assert await find(first) is None
    second.lookup.report_unreachable("a")
    found = await find(second)
    assert found is not None
    assert [peer.name for peer in found.holders] == ["a"]


async def test_an_owner_that_died_unnoticed_is_passed_over(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    owner = first_owner(made)
    asker = next(node for node in made if node is not owner)
    owner.datagrams.is_blocked = True
    assert await find(asker) is None


async def test_a_turn_of_the_loop_that_took_long_here_makes_no_owner_silent(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c")
    owner = first_owner(made)
    asker = next(node for node in made if node is not owner)
    owner.datagrams.is_blocked = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(find, asker)
        await until_true(lambda: owner.lookup.fetches.desk.leases.counts["granted"] == 1)
        # As long as an owner may be silent; nothing went out in vain but once.
        hold_the_loop(0.7)
        owner.datagrams.is_blocked = False
    assert sum(node.lookup.fetches.desk.leases.counts["granted"] for node in made) == 1


async def test_the_second_owner_knows_who_fetches_when_the_first_is_gone(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    by_name = {node.name: node for node in made}
    owners = made[0].lookup.owners(BLOB)
    fetching, asker = (node for node in made if node.name not in owners[:2])
    assert await find(fetching) is None
    await fetching.lookup.on_content(PartialChanged(BLOB, PartialStatus(MIB, 100 * MIB)))
    second = by_name[owners[1]].lookup.fetches.desk
    await until_true(lambda: bool(second.leases.views(trio.current_time())))
    for node in made:
        if node.name != owners[0]:
            node.buries(by_name[owners[0]])
    found = await find(asker)
    assert found is not None
    assert found.holders[0].name == fetching.name


async def test_who_gives_way_takes_a_lease_and_else_leaves_no_trace(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    owner = first_owner(made)
    first, second = [node for node in made if node is not owner][:2]
    gives_way = replace(NEED, gives_way=True)
    assert await find(first, gives_way) is None
    assert [one.digest for one in first.lookup.fetches.receptions.leases()] == [BLOB]

    with pytest.raises(SlotWantedError):
        await find(second, gives_way)
    assert second.lookup.fetches.receptions.next_report_at() is None, "nothing arrives that is to be told of"
    assert owner.lookup.fetches.desk.leases.waiting() == 0
    assert second.lookup.fetches.verdicts == {"wait": 1}
    assert await find(second) is not None


async def test_an_owner_that_was_silent_is_asked_first_again_as_soon_as_it_is_heard(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    owner = first_owner(made)
    blobs = (Digest.of(bytes([number])) for number in range(255))
    another = next(blob for blob in blobs if made[0].lookup.owners(blob)[0] == owner.name)
    asker, crowd = [node for node in made if node is not owner][:2]
    owner.datagrams.is_blocked = True
    assert await find(asker) is None
    granted = owner.lookup.fetches.desk.leases.counts
    assert granted["granted"] == 1, "its word of it was lost, and another owner decided"

    owner.datagrams.is_blocked = False
    await find(crowd)  # whoever has a lease is told of the crowd
    await until_true(lambda: asker.lookup.fetches.receptions.is_crowded(trio.current_time()))
    with pytest.raises(FetchLeasedError):
        await port(asker).lookup_to_fetch(another, NEED)
    assert granted["granted"] == 2


async def test_an_owner_that_pulls_nothing_itself_looks_after_leases_all_the_same(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    owner = first_owner(made)
    fetching, asker = [node for node in made if node is not owner][:2]
    assert await find(fetching) is None
    fetching.scope.cancel()
    leases = owner.lookup.fetches.desk.leases
    await until_true(lambda: leases.counts["lost_silent"] == 1)
    assert await find(asker) is None


@pytest.mark.parametrize("news", [PartialRemoved(BLOB), PartialLeft(BLOB)])
async def test_a_copy_that_is_given_up_is_nobodys_source(
    nodes: Nodes, news: PartialRemoved | PartialLeft
) -> None:
    first, second = await cluster(nodes, "a", "b")
    assert await find(first) is None
    await first.lookup.on_content(news)
    assert first.lookup.fetches.is_given_up(BLOB, 1)
    desks = [node.lookup.fetches.desk for node in (first, second)]
    await until_true(lambda: not any(desk.leases.views(trio.current_time()) for desk in desks))
    assert await find(second) is None


async def test_a_survey_shows_who_fetches_who_reads_from_whom_and_how_far_they_are(nodes: Nodes) -> None:
    made = await cluster(nodes, "a", "b", "c", "d")
    by_name = {node.name: node for node in made}
    owners = made[0].lookup.owners(BLOB)
    fetching, reading = (node for node in made if node.name not in owners[:2])
    assert await find(fetching) is None
    await fetching.lookup.on_content(PartialChanged(BLOB, PartialStatus(2 * MIB, 100 * MIB)))
    second = by_name[owners[1]].lookup.fetches.desk
    await until_true(lambda: bool(second.leases.views(trio.current_time())))
    found = await find(reading)
    assert found is not None
    await reading.lookup.on_content(PartialChanged(BLOB, PartialStatus(MIB, 100 * MIB)))

    view = await fetching.lookup.survey(BLOB)
    with trio.fail_after(10.0):
        # Each of their reports comes within half a second, and to each owner on its own.
        while [one.offset for one in view.spreading.arrivals] != [2 * MIB, MIB]:
            view = await fetching.lookup.survey(BLOB)
    first, then = view.spreading.arrivals
    assert (first.name, then.name) == (fetching.name, reading.name)
    assert first.lease_age is not None
    assert (then.lease_age, then.reads_from) == (None, fetching.name)
    assert [(one.name, one.is_complete) for one in view.holders] == [
        (name, False) for name in sorted((fetching.name, reading.name))
    ]
    assert view.spreading.receivers == 2


@pytest.mark.parametrize("need", [NEED, FetchNeed(5, 0)])
async def test_nobody_to_ask_is_no_error_of_another_kind(nodes: Nodes, need: FetchNeed) -> None:
    [alone] = await cluster(nodes, "a")
    with pytest.raises(NoHolderError):
        await port(alone).lookup_to_fetch(BLOB, need)
