"""Members at v4 addresses, at v6 addresses, at both, and at an address that somebody else had before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from shell.gossip.nodes import Node, Nodes
from spegel_gossip.gossip import seeking
from spegel_gossip.routing import Peer
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import MemberDied, UdpBlocked
from spegel_gossip.swim.member import MemberState

NOWHERE = "127.0.0.77"
"""Loopback, but nobody is bound there when a node listens on ::1 alone."""


def address_in_use(node: Node, of: str) -> Address:
    (detail,) = [one for one in node.gossip.details() if one.member.name == of]
    return detail.address


async def reach_each_other(*nodes: Node) -> None:
    for asker in nodes:
        for peer in nodes:
            if asker is not peer:
                to = Peer(peer.name, "", peer.gossip.own.record.addresses)
                assert (await asker.client.call(to, "GET", "/gossip/ping")).status == 200


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["::1", "127.0.0.1"]])
async def test_members_of_either_family_and_of_both_find_each_other(
    nodes: Nodes, hosts: Sequence[str]
) -> None:
    a = await nodes.start("a", hosts=hosts)
    b = await nodes.start("b", [a.address], hosts=hosts)
    c = await nodes.start("c", [b.address], hosts=list(reversed(hosts)))

    for node in (a, b, c):
        await node.until_live("a", "b", "c")
    await reach_each_other(a, b, c)

    assert a.told(MemberDied) == b.told(MemberDied) == c.told(MemberDied) == []


async def test_of_two_addresses_the_one_that_answers_is_found_and_kept(nodes: Nodes) -> None:
    # A node with both families whose v4 does not lead to it.
    a = await nodes.start("a", hosts=["127.0.0.1", "::1"])
    b = await nodes.start("b", [a.address], hosts=["::1", NOWHERE], listens_on="::1")
    await a.until_live("a", "b")
    await b.until_live("a", "b")

    with trio.fail_after(10):
        while address_in_use(a, "b").host != "::1":
            await trio.lowlevel.checkpoint()
    rounds = a.gossip.status().counters.probes + 5
    with trio.fail_after(10):
        while a.gossip.status().counters.probes < rounds:
            await trio.lowlevel.checkpoint()

    assert address_in_use(a, "b").host == "::1"
    assert a.told(UdpBlocked) == []
    assert a.state_of("b") is MemberState.ALIVE
    await reach_each_other(a, b)


async def test_the_address_that_answers_is_the_one_remembered(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "REMEMBER_DELAY", 0.0)
    monkeypatch.setattr(seeking, "REMEMBER_INTERVAL", 0.0)
    a = await nodes.start("a", hosts=["127.0.0.1", "::1"])
    b = await nodes.start("b", [a.address], hosts=[NOWHERE, "::1"], listens_on="::1")
    await a.until_live("a", "b")
    with trio.fail_after(10):
        while address_in_use(a, "b").host != "::1":
            await trio.lowlevel.checkpoint()

    c = await nodes.start("c", [a.address])  # a reason to write

    with trio.fail_after(10):
        while {*a.memory.addresses} != {Address("::1", b.address.port), c.address}:
            await trio.lowlevel.checkpoint()


async def test_a_pod_address_reused_across_clusters_does_not_merge_them(nodes: Nodes) -> None:
    # mimir#6187: pods' addresses went round, and two clusters became one. Both have the same key here.
    a = await nodes.start("a", cluster="one")
    b = await nodes.start("b", [a.address], cluster="one")
    await a.until_live("a", "b")
    y = await nodes.start("y", cluster="two")
    await b.stop()

    x = await nodes.start("x", [y.address], cluster="two", port=b.address.port)
    await x.until_live("x", "y")
    await a.until_told(MemberDied, "b")

    assert {member.name for member in a.gossip.members()} == {"a", "b"}
    assert {member.name for member in x.gossip.members()} == {"x", "y"}
    assert {member.name for member in y.gossip.members()} == {"x", "y"}


async def test_a_seed_that_takes_connections_and_says_nothing_holds_nobody_up(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # memberlist's Join_DeadNode.
    monkeypatch.setattr("spegel_gossip.gossip.streams.PUSH_PULL_TIMEOUT", 0.2)
    (mute,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = mute.socket.getsockname()[1]
    async with mute:
        a = await nodes.start("a")
        b = await nodes.start("b", [Address("127.0.0.1", port), a.address])

        await b.until_live("a", "b")
        with trio.fail_after(10):
            while b.gossip.status().counters.push_pulls_failed == 0:
                await trio.lowlevel.checkpoint()

    assert b.live() == {"a", "b"}


async def test_sixteen_sealed_nodes_find_each_other_and_see_one_go_and_one_return(nodes: Nodes) -> None:
    # memberlist's Integ.
    first = await nodes.start("n0")
    others = [await nodes.start(f"n{number}", [first.address]) for number in range(1, 16)]
    names = {f"n{number}" for number in range(16)}
    for node in (first, *others):
        await node.until_live(*names)

    await others[-1].stop()
    for node in (first, *others[:-1]):
        await node.until_told(MemberDied, "n15")
    again = await nodes.start("n15", [others[3].address])

    for node in (first, *others[:-1], again):
        await node.until_live(*names)
