import json
import os

import trio
import trio.testing

from shell.lookup.nodes import until_true
from shell.prefetch.nodes import Nodes, PrefetchNode
from spegel_gossip.content import BlobAdded
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.jobs import ASKER_TIMEOUT, FORGET_INTERVAL, MAX_JOBS
from spegel_gossip.prefetch.messages import ID_BYTES, PullAsk, PullState, PullStatus
from spegel_gossip.pulling import PullFailedError, PullProblem

APP = Reference.parse("registry.example.com/team/app:v1")


def new_ask(image: Reference = APP) -> PullAsk:
    return PullAsk(os.urandom(ID_BYTES), image)


async def ended(node: PrefetchNode, ask: PullAsk) -> PullStatus:
    await until_true(lambda: node.jobs.ask(ask).has_ended)
    return node.jobs.ask(ask)


async def test_a_question_that_comes_again_begins_no_second_pull(nodes: Nodes) -> None:
    node, ask = await nodes.start("a"), new_ask()

    assert node.jobs.ask(ask).state is PullState.WAITING
    await trio.testing.wait_all_tasks_blocked()
    assert node.jobs.ask(ask).state is PullState.PULLING
    node.puller.may_end.set()

    assert (await ended(node, ask)).state is PullState.DONE
    assert node.puller.begun == [str(APP)]


async def test_one_image_is_pulled_after_the_other(nodes: Nodes) -> None:
    node, first, second = await nodes.start("a"), new_ask(), new_ask()
    node.jobs.ask(first)
    node.jobs.ask(second)
    await trio.testing.wait_all_tasks_blocked()

    assert node.jobs.ask(second).state is PullState.WAITING
    node.puller.may_end.set()

    assert (await ended(node, second)).state is PullState.DONE
    assert len(node.puller.begun) == 2


async def test_why_it_failed_is_told(nodes: Nodes) -> None:
    node, ask = await nodes.start("a"), new_ask()
    node.puller.failure = PullFailedError(PullProblem.UNAUTHORISED, "401 Unauthorized")
    node.puller.may_end.set()
    node.jobs.ask(ask)

    status = await ended(node, ask)

    assert (status.state, status.problem) == (PullState.FAILED, PullProblem.UNAUTHORISED)
    assert status.detail == "401 Unauthorized"
    node.puller.failure = None
    assert (await ended(node, new_ask())).state is PullState.DONE


async def test_what_a_filter_hides_is_not_prefetched_past_the_mirror(nodes: Nodes) -> None:
    node = await nodes.start("a")

    status = node.jobs.ask(new_ask(Reference.parse("private.example.com/app:v1")))

    assert (status.state, status.problem) == (PullState.FAILED, PullProblem.FILTERED)
    assert node.puller.begun == []


async def test_how_far_it_is_counts_what_was_not_here_before(nodes: Nodes) -> None:
    node, ask = await nodes.start("a"), new_ask()
    held = node.store.add_blob(b"x" * 1000)
    layer, config = Digest.of(b"layer"), Digest.of(b"config")
    sizes = {held: 1000, layer: 400, config: 5}
    manifest = json.dumps(
        {
            "mediaType": types.OCI_MANIFEST,
            "config": {"digest": str(config), "size": 5, "mediaType": types.OCI_CONFIG},
            "layers": [{"digest": str(one), "size": sizes[one], "mediaType": "l"} for one in (held, layer)],
        }
    ).encode()
    node.jobs.ask(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert node.jobs.ask(ask).total == 0

    root = node.store.add_blob(manifest)
    node.manifests[root] = manifest
    # The config came too, before anybody looked into the manifest.
    node.store.add_blob(b"config")
    await node.jobs.on_content(BlobAdded(root, len(manifest)))
    node.counted.peers = 55

    status = node.jobs.ask(ask)
    assert (status.here, status.total) == (len(manifest) + 5, len(manifest) + 405)
    assert (status.upstream, status.peers) == (0, 55)


async def test_a_pull_that_nobody_asks_after_is_given_up(
    nodes: Nodes, autojump_clock: trio.testing.MockClock
) -> None:
    node, pulling, waiting = await nodes.start("a"), new_ask(), new_ask()
    node.jobs.ask(pulling)
    node.jobs.ask(waiting)

    await trio.sleep(ASKER_TIMEOUT + 3)

    assert node.puller.cancelled == 1
    assert len(node.puller.begun) == 1
    for ask in (pulling, waiting):
        assert node.jobs.ask(ask).problem is PullProblem.STOPPED


async def test_jobs_are_bounded_and_ended_ones_are_forgotten(
    nodes: Nodes, autojump_clock: trio.testing.MockClock
) -> None:
    node = await nodes.start("a")
    node.puller.may_end.set()
    asks = [new_ask() for _ in range(MAX_JOBS)]
    assert all(node.jobs.ask(ask).state is PullState.WAITING for ask in asks)
    assert node.jobs.ask(new_ask()).problem is PullProblem.BUSY

    await trio.sleep(1)
    assert node.jobs.ask(new_ask()).state is PullState.WAITING
    assert node.jobs.ask(asks[1]).state is PullState.DONE

    await trio.sleep(FORGET_INTERVAL + 1)
    assert node.jobs.ask(asks[1]).state is PullState.WAITING
