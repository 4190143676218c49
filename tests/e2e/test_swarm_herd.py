"""Nodes pull one new image in the same second: the registry sends each blob once."""

from functools import partial
from pathlib import Path

import pytest

from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.node import Node
from lab.process import Process, wait_until

NODES = 8
REGISTRY_MEGABITS = 200.0
NODE_MEGABITS = 400.0
PULL_TIMEOUT = 90.0
MAX_EGRESS = 1.05
FIRST_IMAGE_BYTES = 20_000


def begin(lab: Lab, node: Node, reference: str) -> Process:
    return node.containerd.begin_pull(reference, log=Path(lab.directory, f"pull-{node.name}.log"))


def finish(lab: Lab, pulls: dict[Node, Process]) -> None:
    for node, pull in pulls.items():
        wait_until(
            partial(has_ended, pull),
            what=f"the pull on node {node.name} to end",
            timeout=PULL_TIMEOUT,
            logs=[pull.log, node.log],
        )
    for node in pulls:
        assert node.containerd.images(), node.describe()


def start_on_slow_links(lab: Lab, image: Artifact, *, repository: str) -> str:
    lab.start_nodes()
    lab.nodes[0].wait_settled()
    reference = lab.registry.push(image, repository)
    lab.registry.namespace.limit_bandwidth(REGISTRY_MEGABITS)
    for node in lab.nodes:
        node.namespace.limit_bandwidth(NODE_MEGABITS)
    lab.registry.forget()
    return reference


def has_ended(pull: Process) -> bool:
    return not pull.is_running()


def has_bytes(node: Node) -> bool:
    return node.containerd.ingested_bytes() >= 2 * images.MIB


def size_of(image: Artifact) -> int:
    return sum(blob.size for blob in image.blobs)


def assert_right_everywhere(lab: Lab, image: Artifact) -> None:
    for node in lab.nodes:
        assert node.containerd.wrong_digests(image.digests) == []


def assert_accounted(lab: Lab, image: Artifact, reference: str) -> None:
    wait_until(
        lambda: all(f"image={reference}" in node.log.read_text() for node in lab.nodes),
        what="each node's line about the image",
        timeout=10,
        logs=[node.log for node in lab.nodes],
    )
    sums = [node.cli_json("leases")["bytes"] for node in lab.nodes]
    # The first image is among them, which is the same for everyone.
    upstream, saved = (sum(one[origin] for one in sums) for origin in ("upstream", "saved"))
    assert upstream <= MAX_EGRESS * size_of(image) + FIRST_IMAGE_BYTES * len(lab.nodes)
    assert saved >= (len(lab.nodes) - MAX_EGRESS) * size_of(image)


@pytest.mark.parametrize("layers", [(4, 8), (1, 32), (10, 2)], ids=["four", "one", "ten"])
def test_a_cold_herd_asks_the_registry_once(lab: Lab, layers: tuple[int, int]) -> None:
    count, mebibytes = layers
    image = images.image(900 + count, [mebibytes * images.MIB] * count)
    reference = start_on_slow_links(lab, image, repository=f"herd/app{count}")

    finish(lab, {node: begin(lab, node, reference) for node in lab.nodes})

    assert_right_everywhere(lab, image)
    assert lab.registry.blob_bytes() <= MAX_EGRESS * size_of(image)
    manifests = [one for one in lab.registry.requests() if one.is_manifest and one.method == "GET"]
    assert len(manifests) <= 2
    assert_accounted(lab, image, reference)


def test_pulls_a_moment_apart_read_what_is_still_arriving(lab: Lab) -> None:
    image = images.image(910, [48 * images.MIB])
    reference = start_on_slow_links(lab, image, repository="herd/staggered")

    pulls = {}
    for node in lab.nodes[:4]:
        pulls[node] = begin(lab, node, reference)
        wait_until(
            partial(has_bytes, node),
            what=f"bytes at node {node.name}",
            timeout=PULL_TIMEOUT,
            logs=[node.log],
        )
    finish(lab, pulls)

    assert lab.registry.blob_bytes() <= MAX_EGRESS * size_of(image)


def test_a_warm_roll_out_asks_the_registry_for_no_blob(lab: Lab) -> None:
    image = images.image(920, [16 * images.MIB] * 2)
    reference = start_on_slow_links(lab, image, repository="herd/warm")
    first, *others = lab.nodes
    first.containerd.pull(reference)
    for node in others:
        node.wait_holders(reference, first.name)
    lab.registry.forget()

    finish(lab, {node: begin(lab, node, reference) for node in others})

    assert_right_everywhere(lab, image)
    assert lab.registry.blob_bytes() == 0


def test_one_node_that_pulls_alone_fetches_everything_once(lab: Lab) -> None:
    image = images.image(930, [8 * images.MIB] * 3)
    reference = start_on_slow_links(lab, image, repository="herd/alone")

    finish(lab, {lab.nodes[3]: begin(lab, lab.nodes[3], reference)})

    assert lab.registry.blob_bytes() == size_of(image)
    assert sum(value for name, value in lab.nodes[3].metrics().items() if name.endswith("_yields_total")) == 0
