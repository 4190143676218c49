from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from shell.lookup.nodes import Node, Nodes, until_true
from spegel_gossip.content import BlobAdded, TagChanged
from spegel_gossip.lookup.config import LookupConfig
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import NoHolderError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import ClockDiffers
from spegel_gossip.swim.member import Member, MemberRecord, MemberState

TAG = TagName("docker.io", "library/nginx", "1.27")
ALIAS = TagName("docker.io", "library/nginx", "stable")
OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
PATIENCE = 10.0


async def pulled(node: Node, digest: Digest, tag: TagName = TAG) -> None:
    """Have a node pull an image from upstream, as its mirror answered 404."""
    node.lookup.tag_answered(tag, None)
    await node.lookup.on_content(BlobAdded(digest, 500))
    target = Descriptor(digest, 500, "application/vnd.oci.image.manifest.v1+json")
    await node.lookup.on_content(TagChanged(tag, target, updated_at=0.0))


async def until_named(node: Node, digest: Digest | None, tag: TagName = TAG) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                found = (await node.lookup.lookup_tag(tag)).digest
            except NoHolderError:
                found = None
            if found == digest:
                return
            await trio.sleep(0.02)


async def test_a_purged_tag_is_named_by_nobody_until_somebody_pulls_it_anew(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await pulled(a, OLD)
    await until_named(c, OLD)

    view = await b.lookup.purge(TAG)

    assert (view.members, view.told) == (3, 3)
    for node in (a, b, c):
        await until_named(node, None)
    assert a.lookup.tag_observed_at(TAG, OLD) is None, "what is here is not answered with either"
    await trio.sleep(0.01)
    await pulled(c, NEW)
    await until_named(a, NEW)
    assert (c.lookup.tag_observed_at(TAG, NEW) or 0) > view.at


async def test_a_member_that_does_not_answer_is_counted_as_not_told(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await pulled(a, OLD)
    await until_named(b, OLD)
    c.scope.cancel()

    view = await a.lookup.purge(TAG)

    assert (view.members, view.told) == (3, 2)


async def test_a_node_whose_clock_is_behind_purges_by_that_of_the_others(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    for other in (b, c):
        record = MemberRecord(other.name, 1, (Address("127.0.0.1", 1),))
        a.lookup.on_membership(ClockDiffers(Member(record, MemberState.ALIVE, 1), 200.0))

    view = await a.lookup.purge(TAG)

    assert view.at > time.time() + 100
    assert (view.members, view.told) == (3, 3)


async def test_two_tags_of_one_digest_are_purged_apart(nodes: Nodes) -> None:
    a, b, _ = await nodes.three()
    await pulled(a, OLD)
    await pulled(a, OLD, ALIAS)
    await until_named(b, OLD, ALIAS)

    await b.lookup.purge(TAG)

    await until_named(b, None)
    await until_named(b, OLD, ALIAS)


async def test_conflicting_digests_are_shown_newest_first(nodes: Nodes) -> None:
    a, b, c = await nodes.three()
    await pulled(a, OLD)
    await until_named(c, OLD)
    await pulled(b, NEW)
    await until_named(c, NEW)

    view = await c.lookup.survey(TAG)

    assert [(one.digest, one.holders) for one in view.namings] == [(str(NEW), ("b",)), (str(OLD), ("a",))]
    assert view.digest == str(NEW)


async def test_observations_and_purges_survive_a_restart(nodes: Nodes, tmp_path: Path) -> None:
    first = await nodes.make("a", state_dir=tmp_path)
    await pulled(first, OLD)
    await pulled(first, OLD, ALIAS)
    observed_at = first.lookup.tag_observed_at(TAG, OLD)
    await first.lookup.purge(ALIAS)
    first.scope.cancel()
    await until_true((tmp_path / "tags.json").exists)

    again = await nodes.make("a", boot=2, state_dir=tmp_path)

    assert observed_at
    assert again.lookup.tag_observed_at(TAG, OLD) == observed_at
    assert again.lookup.tag_observed_at(TAG, NEW) == 0.0
    await until_true(lambda: again.lookup.tag_observed_at(ALIAS, OLD) is None)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"observed": [["x"]], "purged": []}', b"\xff" * 100])
async def test_a_damaged_memory_is_as_none(nodes: Nodes, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tags.json").write_bytes(content)
    node = await nodes.make("a", state_dir=tmp_path)
    assert node.lookup.tag_observed_at(TAG, OLD) == 0.0


def test_without_a_word_new_owners_are_told_over_two_seconds() -> None:
    assert LookupConfig().spread_interval == 2.0
