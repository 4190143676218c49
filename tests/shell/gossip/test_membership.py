from __future__ import annotations

from shell.gossip.nodes import Nodes
from spegel_gossip.swim.events import MemberDied, MemberJoined, MemberLeft
from spegel_gossip.swim.member import MemberState


async def test_a_node_alone_is_a_cluster(nodes: Nodes) -> None:
    a = await nodes.start("a")

    assert a.live() == {"a"}
    assert not a.gossip.has_reached_seed


async def test_two_nodes_find_each_other_through_a_seed(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])

    await a.until_told(MemberJoined, "b")
    await b.until_told(MemberJoined, "a")

    assert a.live() == b.live() == {"a", "b"}
    assert b.gossip.has_reached_seed


async def test_a_third_node_joins_through_the_second(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    c = await nodes.start("c", [b.address])

    for node in (a, b, c):
        await node.until_live("a", "b", "c")


async def test_a_crash_is_seen_by_all(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    c = await nodes.start("c", [a.address])
    await b.until_live("a", "b", "c")

    c.crash()

    await a.until_told(MemberDied, "c")
    await b.until_told(MemberDied, "c")
    assert a.state_of("c") is MemberState.DEAD


async def test_a_departure_is_told_and_not_taken_for_a_death(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await a.until_told(MemberJoined, "b")

    await b.gossip.leave()
    b.crash()

    await a.until_told(MemberLeft, "b")
    assert a.told(MemberDied) == []
