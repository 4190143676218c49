from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Any

import pytest
import trio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shell.gossip.nodes import FAST, KEYRING, Node, Nodes
from spegel_gossip.gossip import driver, seeking, streams
from spegel_gossip.gossip.streams import PING_PATH, PUSH_PULL_PATH
from spegel_gossip.routing import Peer
from spegel_gossip.swim import exchange_codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.events import (
    ClockDiffers,
    MemberDied,
    MemberJoined,
    MemberLeft,
    NoteReceived,
    UdpBlocked,
)
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import BucketHashes
from spegel_gossip.swim.outbox import PushPull
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.envelope import Envelope
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import open_peer_sockets


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


async def test_nodes_without_a_key_find_each_other_too(nodes: Nodes) -> None:
    a = await nodes.start("a", keyring=None)
    b = await nodes.start("b", [a.address], keyring=None)

    await a.until_live("a", "b")
    await b.until_live("a", "b")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_a_node_that_is_its_own_seed_is_alone(nodes: Nodes, host: str) -> None:
    # A headless service lists the node itself, perhaps at an address it does not advertise.
    a = await nodes.start("a", seed_hosts=[host])

    with trio.move_on_after(0.05):
        await a.until_live("a", "b")

    assert a.live() == {"a"}
    assert not a.gossip.has_reached_seed


@pytest.mark.parametrize(
    "theirs", [{"keyring": Keyring((bytes(32),))}, {"keyring": None}, {"cluster": "other"}]
)
async def test_strangers_stay_strangers_and_do_no_harm(nodes: Nodes, theirs: dict[str, Any]) -> None:
    a = await nodes.start("a")
    stranger = await nodes.start("s", [a.address], **theirs)
    b = await nodes.start("b", [a.address])

    await a.until_live("a", "b")

    assert stranger.live() == {"s"}
    assert not stranger.gossip.has_reached_seed
    assert b.live() == {"a", "b"}


async def test_two_processes_with_one_name_are_noticed(nodes: Nodes) -> None:
    # Their boots tell them apart, and those are milliseconds: two starts may well share one.
    first = await nodes.start("a", clock=lambda: 1e9)
    second = await nodes.start("a", [first.address], directory="another machine", clock=lambda: 1e9 + 0.001)

    await first.until(lambda: bool(first.gossip.conflicts))

    assert [conflict.address for conflict in first.gossip.conflicts] == [second.address]
    assert first.gossip.own.record.addresses == (first.address,)


async def test_a_seed_that_comes_later_is_found(nodes: Nodes, unused_port: int) -> None:
    b = await nodes.start("b", [Address("127.0.0.1", unused_port)])
    a = await nodes.start("a", port=unused_port)

    await b.until_live("a", "b")
    await a.until_live("a", "b")


async def test_a_node_that_comes_back_under_its_name_is_a_new_life(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await a.until_told(MemberJoined, "b")
    await b.stop()

    again = await nodes.start("b", [a.address])
    await a.until(lambda: a.told(MemberJoined).count("b") == 2)

    joined = [event.member.record.boot for event in a.events if isinstance(event, MemberJoined)]
    assert joined[-1] == again.gossip.own.record.boot > joined[0]
    await again.until_live("a", "b")


async def test_a_restarted_node_finds_the_others_without_any_seed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "REMEMBER_DELAY", 0.0)
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await b.until_live("a", "b")
    with trio.fail_after(5):
        while b.memory.addresses != (a.address,):
            await trio.lowlevel.checkpoint()
    await b.stop()

    again = await nodes.start("b")

    await again.until_live("a", "b")


async def test_a_note_reaches_its_member_and_nobody_else(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    c = await nodes.start("c", [a.address])
    for node in (a, b, c):
        await node.until_live("a", "b", "c")

    a.gossip.set_note("b", b"only for b")
    await b.until_told(NoteReceived, "a")

    assert NoteReceived("a", b"only for b") in b.events
    assert c.told(NoteReceived) == []


async def test_a_member_that_udp_does_not_reach_is_kept_by_tcp(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address], is_deaf=True)

    await a.until_told(UdpBlocked, "b")

    assert a.state_of("b") is not MemberState.DEAD
    assert b.state_of("a") is not MemberState.DEAD


async def test_leaving_takes_a_second_at_most(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LEAVE_TIMEOUT", 0.05)
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address], config=replace(FAST, gossip_interval=60.0))
    await b.until_live("a", "b")

    with trio.fail_after(5.0):  # a minute without the time-out: nothing is gossiped before
        await b.gossip.leave()


async def test_a_push_pull_of_nonsense_is_refused_and_harmless(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await b.until_live("a", "b")
    peer = Peer("a", "", (a.address,))

    assert (await b.client.call(peer, "POST", PUSH_PULL_PATH, body=b"\xc1nonsense")).status == 400
    assert (await b.client.call(peer, "GET", PUSH_PULL_PATH)).status == 405
    assert (await b.client.call(peer, "GET", PING_PATH)).status == 200


NESTED = b"\x91" * 1000 + b"\x00"
"""What msgpack takes and Python cannot print."""


@pytest.mark.parametrize("keyring", [None, KEYRING], ids=["plaintext", "sealed"])
async def test_a_ping_of_nested_fields_is_dropped_and_the_node_goes_on(
    nodes: Nodes, keyring: Keyring | None
) -> None:
    a = await nodes.start("a", keyring=keyring)
    envelope = Envelope(Credentials("b", 5, "test", keyring))
    ping = b"\x94\x01" + NESTED + b"\x01\xc4\x00"
    before = dropped("body")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(envelope.seal(DatagramKind.GOSSIP, ping, target="a"), (a.address.host, a.address.port))
    with trio.fail_after(10):
        while dropped("body") == before:
            await trio.lowlevel.checkpoint()

    b = await nodes.start("b", [a.address], keyring=keyring)
    await a.until_live("a", "b")
    await b.until_live("a", "b")


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("spegel_gossip_wire_datagrams_dropped_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("answer", [b"\x95" + NESTED, b"\x95\x02" + NESTED], ids=["kind", "name"])
async def test_a_push_pull_answered_with_nested_fields_has_failed_and_the_node_goes_on(
    nodes: Nodes, nursery: trio.Nursery, answer: bytes
) -> None:
    sockets = open_peer_sockets("127.0.0.1", 0)
    hostile = PeerServer(sockets.tcp, Credentials("h", 5, "test", KEYRING), clock=time.time)

    async def answer_nested(_request: PeerRequest, exchange: PeerExchange) -> None:
        await exchange.answer(200, body=answer, sealed=True)

    hostile.route(PUSH_PULL_PATH, answer_nested)
    await nursery.start(hostile.run)
    a = await nodes.start("a", [Address("127.0.0.1", sockets.port)])
    await until_one_failed(a)

    await nodes.start("b", [a.address])
    await a.until_live("a", "b")
    sockets.close()


async def test_a_bug_met_in_a_push_pull_fails_it_and_not_the_node(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_engine: Swim, _answer: bytes, _exchange: PushPull) -> None:
        raise RecursionError

    a = await nodes.start("a")
    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr(Swim, "push_pull_claims_in_turns", fail)
        b = await nodes.start("b", [a.address])
        await until_one_failed(b)

    await b.until_live("a", "b")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "membership over a stream failed"
    ]


async def until_one_failed(node: Node) -> None:
    with trio.fail_after(10):
        while node.gossip.status().counters.push_pulls_failed == 0:
            await trio.lowlevel.checkpoint()


async def test_push_pulls_beyond_those_answered_at_a_time_wait_in_line(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # memberlist#158: three thousand at once, 7 GB.
    monkeypatch.setattr(streams, "MAX_ANSWERS", 1)
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await b.until_live("a", "b")
    peer, hashes = Peer("a", "", (a.address,)), exchange_codec.encode_push_pull(BucketHashes((0,) * 16))
    statuses = []

    async def ask() -> None:
        statuses.append((await b.client.call(peer, "POST", PUSH_PULL_PATH, body=hashes)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)

    assert statuses == [200] * 20


OUTCOMES = ("_acked", "_acked_by_relay", "_acked_by_tcp", "_failed")


async def test_the_numbers_are_exported_while_it_runs(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await a.until_live("a", "b")
    await b.stop()

    assert REGISTRY.get_sample_value("spegel_gossip_members", {"state": "alive"}) == 2
    assert REGISTRY.get_sample_value("spegel_gossip_swim_push_pulls_answered_total") == 1
    for name in (
        *(f"probes{outcome}_total" for outcome in ("", *OUTCOMES)),
        "suspicions_total", "refutations_total", "local_health", "queue_length", "streams",
    ):  # fmt: skip
        assert REGISTRY.get_sample_value(f"spegel_gossip_swim_{name}") is not None, name
    sent = {"kind": "gossip", "direction": "sent"}
    for counted in ("datagrams", "datagram_bytes"):
        assert REGISTRY.get_sample_value(f"spegel_gossip_wire_{counted}_total", sent) is not None
    await a.stop()
    assert REGISTRY.get_sample_value("spegel_gossip_members", {"state": "alive"}) is None


@pytest.mark.parametrize("days", [-2, 2])
async def test_a_clock_two_days_off_is_allowed_for_and_warned_about(nodes: Nodes, days: int) -> None:
    before = corrected()
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address], clock=lambda: time.time() + days * 86_400)
    await a.until_live("a", "b")
    await b.until_live("a", "b")
    assert corrected() > before
    assert a.told(MemberDied) == b.told(MemberDied) == []


async def test_a_clock_that_jumps_is_followed_by_acks_before_any_request_is_refused(nodes: Nodes) -> None:
    jumped = [0.0]
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address], clock=lambda: time.time() + jumped[0])
    await a.until_live("a", "b")
    await b.until_live("a", "b")
    peers = {a: Peer("b", "", (b.address,)), b: Peer("a", "", (a.address,))}
    for days in (-2.0, 0.0, 1000.0, -1.0):
        jumped[0] = days * 86_400
        for node, ahead in ((a, jumped[0]), (b, -jumped[0])):
            await node.until(lambda node=node, ahead=ahead: differs(node, ahead))  # type: ignore[misc]
        for node in peers:  # a ping over TCP that began before the ack is corrected after it
            while node.gossip.status().streams_open:
                await trio.lowlevel.checkpoint()
        before = corrected()
        for node, peer in peers.items():
            assert (await node.client.call(peer, "GET", PING_PATH)).status == 200
        assert corrected() == before
    assert a.told(MemberDied) == b.told(MemberDied) == []


def differs(node: Node, seconds: float) -> bool:
    """Whether the last that a node was told of the other's clock is this."""
    told = [event.seconds for event in node.events if isinstance(event, ClockDiffers)]
    return bool(told) and abs(told[-1] - seconds) < 1.0


def corrected() -> float:
    return REGISTRY.get_sample_value("spegel_gossip_wire_clocks_corrected_total") or 0.0


async def test_a_clock_that_went_back_between_two_lives_keeps_nobody_out(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", [a.address])
    await a.until_live("a", "b")
    port, boot = b.address.port, b.gossip.own.record.boot
    await b.stop()
    # Its state is lost as well, so nothing but the others' memory says that it lived later.
    b = await nodes.start("b", [a.address], port=port, directory="anew", clock=lambda: time.time() - 86_400)
    await b.until_live("a", "b")
    await a.until(lambda: (member := a.gossip.get("b")) is not None and member.record.boot > boot)
    assert b.gossip.own.record.boot > boot
