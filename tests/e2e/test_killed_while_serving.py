"""A node dies, or loses what it serves, in the middle of it: the pull completes, its bytes right."""

import os
from pathlib import Path

import pytest

from lab import images
from lab.cluster import Lab
from lab.node import Node
from lab.process import Process, wait_until

LAYER_SIZE = 48 * images.MIB
MEGABITS = 200.0
"""At which the layer takes two seconds, so that there is a middle."""

MIDDLE = 8 * images.MIB
PULL_TIMEOUT = 60.0


def hold(reference: str, holders: list[Node], asker: Node) -> None:
    for node in holders:
        node.containerd.pull(reference)
        asker.wait_holders(reference, node.name)
    # Every owner knows them all, whichever the asker turns to.
    asker.wait_settled()


def begin_slow_pull(lab: Lab, node: Node, reference: str) -> Process:
    node.namespace.limit_bandwidth(MEGABITS)
    pull = node.containerd.begin_pull(reference, log=Path(lab.directory, "pull.log"))
    wait_until(
        lambda: node.containerd.ingested_bytes() >= MIDDLE,
        what=f"{MIDDLE} bytes of the layer at node {node.name}",
        timeout=PULL_TIMEOUT,
        logs=[pull.log, node.log],
        still_possible=pull.is_running,
    )
    return pull


def sent(nodes: list[Node]) -> dict[Node, int]:
    return {node: node.namespace.bytes_sent() for node in nodes}


def sending(before: dict[Node, int]) -> Node:
    """Who has sent most since then; not who sends a moment more, for which a pull may leave no time."""
    grown = {node: after - before[node] for node, after in sent([*before]).items()}
    sender = max(grown, key=grown.__getitem__)
    assert grown[sender] > images.MIB
    return sender


def test_the_other_holder_goes_on_where_the_killed_one_stopped(lab: Lab) -> None:
    a, b, c = lab.nodes
    image = images.image(61, [LAYER_SIZE])
    reference = lab.registry.push(image, "team/two-holders", "v1")
    lab.start_nodes()
    hold(reference, [a, b], c)
    lab.registry.stop()

    before = sent([a, b])
    pull = begin_slow_pull(lab, c, reference)
    sending(before).kill()

    assert pull.wait(PULL_TIMEOUT) == 0, pull.log.read_text()
    assert c.containerd.wrong_digests(image.digests) == []


def test_the_other_holder_goes_on_where_a_layer_was_cut_short_on_disk(lab: Lab) -> None:
    a, b, c = lab.nodes
    image = images.image(64, [LAYER_SIZE])
    reference = lab.registry.push(image, "team/cut", "v1")
    lab.start_nodes()
    hold(reference, [a, b], c)
    lab.registry.stop()

    before = sent([a, b])
    pull = begin_slow_pull(lab, c, reference)
    os.truncate(sending(before).containerd.blob_path(image.blobs[1].digest), 2 * MIDDLE)

    assert pull.wait(PULL_TIMEOUT) == 0, pull.log.read_text()
    assert c.containerd.wrong_digests(image.digests) == []


@pytest.mark.parametrize("loser", [0, 1])
def test_a_layer_that_is_gone_from_one_holder_comes_from_the_other(lab: Lab, loser: int) -> None:
    a, b, c = lab.nodes
    image = images.image(65 + loser, [200_000])
    reference = lab.registry.push(image, f"team/gone{loser}", "v1")
    lab.start_nodes()
    hold(reference, [a, b], c)
    lab.registry.stop()
    lab.nodes[loser].containerd.blob_path(image.blobs[1].digest).unlink()

    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []


def test_the_registry_goes_on_where_the_only_holder_stopped(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(62, [LAYER_SIZE])
    reference = lab.registry.push(image, "team/one-holder", "v1")
    lab.start_nodes(nodes=[a, b])
    hold(reference, [a], b)
    lab.registry.forget()

    pull = begin_slow_pull(lab, b, reference)
    a.kill()

    assert pull.wait(PULL_TIMEOUT) == 0, pull.log.read_text()
    assert b.containerd.wrong_digests(image.digests) == []
    layer = image.blobs[1].digest
    assert {one.path.rpartition("/")[2] for one in lab.registry.requests() if one.is_blob} == {layer}
    assert lab.registry.blob_bytes(image) <= LAYER_SIZE - MIDDLE


def test_the_next_node_pulls_from_one_that_was_interrupted(lab: Lab) -> None:
    a, b, c = lab.nodes
    image = images.image(63, [LAYER_SIZE])
    reference = lab.registry.push(image, "team/interrupted", "v1")
    lab.start_nodes()
    hold(reference, [a], b)

    pull = begin_slow_pull(lab, b, reference)
    b.kill()
    b.start()
    assert pull.wait(PULL_TIMEOUT) == 0, pull.log.read_text()
    b.wait_ready()
    c.wait_holders(reference, "b")
    c.wait_settled()
    lab.registry.stop()
    a.kill()

    c.containerd.pull(reference)
    assert c.containerd.wrong_digests(image.digests) == []
