from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio
import trio.testing

from shell.lookup.nodes import Node, Nodes, until_true
from spegel_gossip.content import BlobAdded, BlobRemoved, TagChanged, TagRemoved
from spegel_gossip.directory.inquiry import reading_order
from spegel_gossip.lookup import asking, cache
from spegel_gossip.lookup.transport import MAX_STREAMS
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import Holders, NoHolderError, OwnersUnreachableError, Purpose, Router, TagHolders
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import MemberJoined
from spegel_gossip.swim.member import Member, MemberRecord, MemberState

BLOBS = [Digest.of(str(number).encode()) for number in range(100)]
BLOB = BLOBS[0]
TAG = TagName("docker.io", "library/nginx", "1.27")
PURPOSES = (Purpose.READ, Purpose.FETCH)

PATIENCE = 10.0
"""Seconds for what takes up to two, on a machine that does other things too."""


T = TypeVar("T")


@pytest.fixture
def answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an answer for longer than any test takes: the second of a node may pass between two lines."""
    monkeypatch.setattr(cache, "CACHE_INTERVAL", 60.0)


async def until(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until somebody has it: advertisements are on their way."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await ask()
            except NoHolderError:
                await trio.sleep(0.02)
    raise AssertionError


async def until_nobody(ask: Callable[[], Awaitable[object]]) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await ask()
            except NoHolderError:
                return
            await trio.sleep(0.02)


async def until_told(*nodes: Node) -> None:
    """Wait until everybody has told everybody everything: then pings carry notes."""
    with trio.fail_after(PATIENCE):
        while True:
            if all(node.notes.get(other.name) for node in nodes for other in nodes if other is not node):
                return
            await trio.sleep(0.02)


async def until_advertised(node: Node, owners: tuple[Node, ...], key: Digest | TagName) -> None:
    """Wait until all owners name a node as a holder."""
    with trio.fail_after(PATIENCE):
        while True:
            views = (await owners[0].lookup.survey(key)).owners
            if all(node.name in view.holders for view in views):
                return
            await trio.sleep(0.02)


def finding(node: Node, digest: Digest, purpose: Purpose = Purpose.READ) -> Callable[[], Awaitable[Holders]]:
    return lambda: node.lookup.lookup(digest, purpose)


def finding_tag(node: Node) -> Callable[[], Awaitable[TagHolders]]:
    return lambda: node.lookup.lookup_tag(TAG)


def names(found: Holders | TagHolders) -> list[str]:
    return sorted(peer.name for peer in found.holders)


async def add(node: Node, *digests: Digest, size: int = 7) -> None:
    for digest in digests:
        node.stored[digest] = None
        await node.lookup.on_content(BlobAdded(digest, size))


async def tag(node: Node, digest: Digest) -> None:
    target = Descriptor(digest, 500, "application/vnd.oci.image.manifest.v1+json")
    await node.lookup.on_content(TagChanged(TAG, target, updated_at=0.0))


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_alone_nobody_is_known_at_once_and_without_a_packet(nodes: Nodes, purpose: Purpose) -> None:
    alone = await nodes.make("alone")
    router: Router = alone.lookup
    await add(alone, BLOBS[1])
    with pytest.raises(NoHolderError):
        await router.lookup(BLOB, purpose)
    with pytest.raises(NoHolderError):  # it holds this one, and needs nobody to tell it
        await router.lookup(BLOBS[1], purpose)
    assert alone.datagrams.sent == 0


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_what_one_node_has_the_others_find(nodes: Nodes, purpose: Purpose) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB, size=1234)
    for asker in (b, c):
        found = await until(finding(asker, BLOB, purpose))
        assert (names(found), found.size) == (["a"], 1234)
        assert found.holders[0].addresses == a.record.addresses


async def test_what_was_there_before_the_others_came_is_found(nodes: Nodes) -> None:
    first = await nodes.make("first")
    await add(first, *BLOBS)
    second = await nodes.make("second")
    first.meets(second)
    for digest in BLOBS[:5]:
        assert names(await until(finding(second, digest))) == ["first"]


async def test_what_is_removed_is_found_no_more(nodes: Nodes) -> None:
    a, b, _ = await nodes.three()
    await add(a, BLOB)
    await until(finding(b, BLOB))
    await a.lookup.on_content(BlobRemoved(BLOB))
    await until_nobody(finding(b, BLOB))


async def test_a_dead_holder_is_named_no_more_from_that_moment(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    for node in (b, c):
        await until(finding(node, BLOB))
    b.buries(a)
    c.buries(a)
    for node in (b, c):
        with pytest.raises(NoHolderError):
            await node.lookup.lookup(BLOB, Purpose.FETCH)


async def test_a_holder_that_comes_back_under_a_new_boot_has_nothing_until_it_says_so(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    await until(finding(b, BLOB))
    a.scope.cancel()
    again = await nodes.make("a", boot=2)
    again.meets(b, c)
    await until_nobody(finding(b, BLOB))
    await add(again, BLOB)
    found = await until(finding(b, BLOB))
    assert found.holders[0].addresses == again.record.addresses


async def test_much_at_once_goes_as_a_few_requests(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await until_told(a, b, c)
    sent = a.datagrams.sent
    await add(a, *BLOBS)
    for digest in BLOBS:
        await until(finding(b, digest))
    await until_told(a, b, c)
    assert a.datagrams.sent - sent < 10


async def test_requests_beyond_those_under_way_wait_without_a_task_each(nodes: Nodes) -> None:
    a = await nodes.make("a")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    mute = MemberRecord("mute", 1, (Address("127.0.0.1", listeners[0].socket.getsockname()[1]),))
    asked = 0

    async def say_nothing(stream: trio.SocketStream) -> None:
        nonlocal asked
        asked += 1
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, say_nothing, listeners)
        a.udp_blocked[mute.name] = None
        a.lookup.on_membership(MemberJoined(Member(mute, MemberState.ALIVE, 1)))
        await until_true(lambda: len(a.lookup.ring_shares()) == 2)
        before = trio.lowlevel.current_statistics().tasks_living

        for number in range(50 * MAX_STREAMS):
            a.lookup.report_miss(Digest.of(f"{number}".encode()), "somebody")
        await until_true(lambda: asked == MAX_STREAMS)
        await trio.testing.wait_all_tasks_blocked(0.05)

        assert asked == MAX_STREAMS
        # One here and one at the other end.
        assert trio.lowlevel.current_statistics().tasks_living <= before + 2 * MAX_STREAMS
        nursery.cancel_scope.cancel()


async def test_with_udp_blocked_everything_still_works_over_tcp(nodes: Nodes) -> None:
    a, b, c = [await nodes.make(name) for name in ("a", "b", "c")]
    for node in (a, b, c):
        node.datagrams.is_blocked = True
    a.meets(b, c)
    b.meets(c)
    await add(a, BLOB)
    for asker in (b, c):
        assert names(await until(finding(asker, BLOB))) == ["a"]


async def test_whom_membership_reaches_over_tcp_only_is_told_and_asked_over_tcp_at_once(nodes: Nodes) -> None:
    everybody = await nodes.three()
    await until_told(*everybody)
    a, b, c = everybody
    sent = {node.name: node.datagrams.sent for node in everybody}
    for node in everybody:
        node.udp_blocked.update(dict.fromkeys(other.name for other in everybody))
    await add(a, BLOB)
    for asker in (b, c):
        assert names(await until(finding(asker, BLOB))) == ["a"]
    assert sent == {node.name: node.datagrams.sent for node in everybody}


async def test_with_no_owner_to_be_reached_nobody_is_not_what_is_said(nodes: Nodes) -> None:
    everybody = [await nodes.make(f"node-{number}") for number in range(5)]
    for at, node in enumerate(everybody):
        node.meets(*everybody[at + 1 :])
    await until_told(*everybody)
    asker = everybody[0]
    digest = next(digest for digest in BLOBS if asker.name not in asker.lookup.owners(digest))
    for node in everybody[1:]:
        node.scope.cancel()
    with pytest.raises(OwnersUnreachableError):
        await asker.lookup.lookup(digest, Purpose.READ)


async def test_a_hedge_finds_it_when_the_first_owner_is_silent(nodes: Nodes) -> None:
    everybody = [await nodes.make(f"node-{number}") for number in range(5)]
    for at, node in enumerate(everybody):
        node.meets(*everybody[at + 1 :])
    await until_told(*everybody)
    asker = everybody[0]
    digest = next(digest for digest in BLOBS if asker.name not in asker.lookup.owners(digest))
    first = reading_order(asker.lookup.owners(digest), asker.name)[0]
    holder = next(node for node in everybody[1:] if node.name not in (first, asker.name))
    await add(holder, digest)
    await until(finding(asker, digest))
    next(node for node in everybody if node.name == first).scope.cancel()
    await trio.sleep(1.1)  # the cache's second
    with trio.fail_after(PATIENCE):
        assert names(await asker.lookup.lookup(digest, Purpose.FETCH)) == [holder.name]


async def test_a_true_miss_makes_the_holder_withdraw(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    await until(finding(b, BLOB))
    del a.stored[BLOB]  # the store lost it without an event
    b.lookup.report_miss(BLOB, "a")
    await until_nobody(finding(c, BLOB))
    assert a.lookup.counts().advertised == 0


async def test_a_false_miss_hides_the_holder_only_until_it_has_looked(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    await until(finding(b, BLOB))
    b.lookup.report_miss(BLOB, "a")
    for asker in (b, c):
        assert names(await until(finding(asker, BLOB))) == ["a"]


async def test_a_holder_that_could_not_be_connected_is_skipped(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    await add(b, BLOB)
    for node in (a, b):
        await until_advertised(node, (c,), BLOB)
    c.lookup.report_unreachable("a")
    assert names(await c.lookup.lookup(BLOB, Purpose.FETCH)) == ["b"]
    c.lookup.report_unreachable("b")
    with pytest.raises(NoHolderError):
        await c.lookup.lookup(BLOB, Purpose.FETCH)


@pytest.mark.usefixtures("answers_are_kept")
async def test_after_one_get_the_owners_are_asked_again(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB)
    await until_advertised(a, (c,), BLOB)
    assert names(await until(finding(c, BLOB))) == ["a"]  # kept
    await add(b, BLOB)
    await until_advertised(b, (c,), BLOB)
    assert names(await c.lookup.lookup(BLOB, Purpose.FETCH)) == ["a"]
    assert names(await c.lookup.lookup(BLOB, Purpose.FETCH)) == ["a", "b"]


async def test_holders_of_the_same_zone_come_first(nodes: Nodes) -> None:
    near, far, asker = [
        await nodes.make(name, zone=zone) for name, zone in (("near", "z1"), ("far", "z2"), ("asker", "z1"))
    ]
    near.meets(far, asker)
    far.meets(asker)
    for node in (near, far):
        await add(node, BLOB)
        await until_advertised(node, (asker,), BLOB)
    found = await until(finding(asker, BLOB))
    assert [peer.name for peer in found.holders] == ["near", "far"]


async def holder_and_asker(nodes: Nodes) -> tuple[Node, Node]:
    """Of four nodes one that has twenty blobs, as all have been told, and another."""
    everybody = [await nodes.make(f"node-{number}") for number in range(4)]
    for at, node in enumerate(everybody):
        node.meets(*everybody[at + 1 :])
    holder, asker = everybody[:2]
    await add(holder, *BLOBS[:20])
    await until_told(*everybody)
    return holder, asker


@pytest.mark.usefixtures("answers_are_kept")
async def test_looking_ahead_spares_the_question(nodes: Nodes) -> None:
    holder, asker = await holder_and_asker(nodes)
    asker.lookup.lookup_ahead(dict.fromkeys(BLOBS[:20], 1))
    await trio.testing.wait_all_tasks_blocked(0.2)  # until all questions are answered
    sent = asker.datagrams.sent
    for digest in BLOBS[:20]:
        assert names(await asker.lookup.lookup(digest, Purpose.READ)) == [holder.name]
    assert asker.datagrams.sent == sent


async def test_what_the_swarm_will_be_asked_for_is_not_looked_up_ahead(nodes: Nodes) -> None:
    _, asker = await holder_and_asker(nodes)
    sent = asker.datagrams.sent
    asker.lookup.lookup_ahead(dict.fromkeys(BLOBS[:20], 1), has_ingests=True)
    await trio.sleep(0.2)
    assert asker.datagrams.sent == sent


async def test_a_tag_is_what_upstream_said_last(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await tag(a, BLOBS[1])  # imported: nobody knows when upstream said so
    b.lookup.tag_answered(TAG, None)
    await tag(b, BLOBS[2])  # our mirror answered 404, so this came from upstream
    await until_advertised(b, (c,), TAG)
    found = await until(finding_tag(c))
    assert (found.digest, names(found)) == (BLOBS[2], ["b"])
    assert found.observed_at > 0


@pytest.mark.usefixtures("answers_are_kept")
async def test_who_has_a_tag_is_asked_for_its_manifest_without_another_question(nodes: Nodes) -> None:
    everybody = [await nodes.make(f"node-{number}") for number in range(6)]
    for at, node in enumerate(everybody):
        node.meets(*everybody[at + 1 :])
    await until_told(*everybody)
    asker, *others = everybody
    digest = next(digest for digest in BLOBS if asker.name not in asker.lookup.owners(digest))
    holder = others[0]
    await add(holder, digest)
    await tag(holder, digest)
    await until(finding_tag(asker))
    await asker.lookup.lookup_tag(TAG)
    sent = asker.datagrams.sent
    assert names(await asker.lookup.lookup(digest, Purpose.FETCH)) == [holder.name]
    assert asker.datagrams.sent == sent


async def test_a_pull_that_the_mirror_answered_is_as_old_as_its_answer(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    a.lookup.tag_answered(TAG, None)
    await tag(a, BLOB)
    await until_advertised(a, (b,), TAG)
    first = await until(finding_tag(b))
    b.lookup.tag_answered(TAG, first.observed_at)
    await tag(b, BLOB)
    await until_advertised(b, (c,), TAG)
    both = await until(finding_tag(c))
    assert names(both) == ["a", "b"]
    assert both.observed_at == first.observed_at


async def test_the_only_holder_of_a_tag_learns_that_it_is_the_newest(nodes: Nodes) -> None:
    a, _, c = await nodes.three()
    await add(a, BLOB)
    await tag(a, BLOB)
    await until_advertised(a, (c,), TAG)
    found = await until(finding_tag(a))
    assert (found.digest, found.holders) == (BLOB, ())


async def test_a_filtered_tag_is_known_to_nobody(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    a.hidden_tags[TAG] = None
    await tag(a, BLOB)
    await until_told(a, b, c)
    with pytest.raises(NoHolderError):
        await b.lookup.lookup_tag(TAG)


async def test_a_removed_tag_is_named_no_more(nodes: Nodes) -> None:
    a, b, _ = await nodes.three()
    await tag(a, BLOB)
    await until(finding_tag(b))
    await a.lookup.on_content(TagRemoved(TAG))
    await until_nobody(finding_tag(b))


async def test_at_rest_no_packet_is_sent_and_notes_agree(nodes: Nodes) -> None:
    everybody = await nodes.three()
    for node in everybody:
        await add(node, *BLOBS[:10])
    await until_told(*everybody)
    sent = [node.datagrams.sent for node in everybody]
    for node in everybody:
        for other in everybody:
            if other is not node:
                node.pings(other)
    await trio.sleep(0.3)
    assert sent == [node.datagrams.sent for node in everybody]


async def test_ring_shares_are_the_same_everywhere_and_add_up(nodes: Nodes) -> None:
    everybody = await nodes.three()
    await until_told(*everybody)
    shares = [node.lookup.ring_shares() for node in everybody]
    assert shares[0] == shares[1] == shares[2]
    assert [share.name for share in shares[0]] == ["a", "b", "c"]
    assert sum(share.share for share in shares[0]) == pytest.approx(1.0)
    assert len({node.lookup.epoch() for node in everybody}) == 1


async def test_a_survey_shows_what_each_owner_says(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await add(a, BLOB, size=9)
    await until_advertised(a, (b, c), BLOB)
    view = await b.lookup.survey(BLOB)
    assert [owner.name for owner in view.owners] == list(b.lookup.owners(BLOB))
    assert all(owner.has_answered and owner.has_same_view for owner in view.owners)
    assert [(holder.name, holder.is_complete) for holder in view.holders] == [("a", True)]
    assert view.size == 9


async def test_a_search_finds_what_any_owner_knows(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    for owner, holder in ((a, b), (b, a)):
        await add(holder, BLOB)
        await until_advertised(holder, (owner,), BLOB)

    assert sorted(names(await c.lookup.lookup(BLOB, Purpose.SEARCH))) == ["a", "b"]
    with pytest.raises(NoHolderError):
        await c.lookup.lookup(Digest.of(b"nobody's"), Purpose.SEARCH)


async def test_with_all_owners_dead_a_moment_ago_who_has_it_is_found_all_the_same(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANYBODY_TIMEOUT", PATIENCE / 2)
    everybody = [await nodes.make(f"node-{number}") for number in range(6)]
    for at, node in enumerate(everybody):
        node.meets(*everybody[at + 1 :])
    await until_told(*everybody)
    asker = everybody[0]
    digest = next(digest for digest in BLOBS if asker.name not in asker.lookup.owners(digest))
    owners = asker.lookup.owners(digest)
    holder = next(node for node in everybody[1:] if node.name not in owners)
    await add(holder, digest)
    await tag(holder, digest)
    for node in everybody:
        if node.name in owners:
            node.scope.cancel()
    assert names(await asker.lookup.lookup(digest, Purpose.FETCH)) == [holder.name]
