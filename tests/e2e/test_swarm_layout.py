"""Nodes with an image layout take part in a herd as those with a containerd do."""

from pathlib import Path

import pytest

from e2e.herds import PULL_TIMEOUT, Links, limit
from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.node import MIRROR_PORT, PROGRAM, Node
from lab.once import assert_sent_once
from lab.process import Process, wait_until
from lab.registry import REGISTRY_PORT

CONTAINERD_VERSIONS = ("debian", "2.2.6")
NODES = 6
LINKS = Links(registry=200.0)
LAYERS = [12 * images.MIB] * 4
MAX_EGRESS = 1.05


def start(lab: Lab, with_layout: list[Node]) -> None:
    for node in lab.nodes:
        more = ["--store=layout"] if node in with_layout else []
        node.start(*more, seeds=[other.address for other in lab.nodes if other is not node])
    for node in lab.nodes:
        node.wait_ready()
    for node in lab.nodes:
        node.wait_members(*(one.name for one in lab.nodes))
    lab.nodes[0].wait_settled()


def layout_of(node: Node) -> Path:
    return node.directory / "state" / "layout"


def begin_into_layout(lab: Lab, node: Node, repository: str) -> Process:
    # No name server here, so the registry goes by its address; a digest is one digest under any name.
    image = f"{lab.registry.namespace.address}:{REGISTRY_PORT}/{repository}:latest"
    mirror = f"http://127.0.0.1:{MIRROR_PORT}"
    argv = [str(PROGRAM), "pull", image, "--plain-http", "--mirror", mirror, "--layout", str(layout_of(node))]
    return Process(node.namespace.argv(*argv), log=lab.directory / f"pull-{node.name}.log")


def are_right(node: Node, pulled: list[Artifact]) -> bool:
    # What lies in a layout's blobs/ under read-only bits has been verified by whoever wrote it, and the
    # sizes say that nobody wrote to it since.
    sizes = {blob.digest: blob.size for image in pulled for blob in (*image.manifests, *image.blobs)}
    found = {f"sha256:{one.name}": one.stat().st_size for one in layout_of(node).glob("blobs/sha256/*")}
    return found == sizes


@pytest.mark.parametrize("layouts", [6, 3], ids=["all", "half"])
def test_a_herd_of_layouts_asks_the_registry_once(lab: Lab, layouts: int) -> None:
    with_layout = lab.nodes[:layouts]
    start(lab, with_layout)
    # A containerd 2 has no ingests to be seen before its first pull.
    first = lab.registry.push(images.image(898), "layout/first")
    for node in lab.nodes[layouts:]:
        node.containerd.pull(first)
    pulled: list[Artifact] = []

    def play(seed: int) -> float:
        image = images.image(seed, LAYERS)
        pulled.append(image)
        repository = f"layout/app{seed}"
        reference = lab.registry.push(image, repository)
        limit(lab, LINKS)
        pulls = {
            node: begin_into_layout(lab, node, repository)
            if node in with_layout
            else node.containerd.begin_pull(reference, log=lab.directory / f"pull-{node.name}.log")
            for node in lab.nodes
        }
        wait_until(
            lambda: not any(pull.is_running() for pull in pulls.values()),
            what="the pulls to end",
            timeout=PULL_TIMEOUT,
            logs=[pull.log for pull in pulls.values()],
        )
        assert {node.name: pull.returncode for node, pull in pulls.items()} == {
            node.name: 0 for node in lab.nodes
        }
        for node in lab.nodes:
            is_layout = node in with_layout
            assert are_right(node, pulled) if is_layout else not node.containerd.wrong_digests(image.digests)
        # A blob may be small, and fetched twice all the same.
        asked = [one for one in lab.registry.requests() if one.is_blob and one.status == 200]
        sent = lab.registry.blob_bytes() / sum(blob.size for blob in image.blobs)
        return max(sent, len(asked) / len(image.blobs))

    assert_sent_once(play, 890 + layouts, most=MAX_EGRESS)
