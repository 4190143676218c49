"""containerd fetches one layer as several ranges: one download for the mirror, spread over the holders."""

import re
from collections.abc import Iterator

import pytest

from e2e.fault_matrix import Growth
from lab import images
from lab.cluster import Lab
from lab.node import Node

CONTAINERD_VERSIONS = ("2.1.4", "2.2.6")
LAYER_SIZE = 96 * images.MIB
MEGABITS = 400.0
MIDDLE = 16 * images.MIB
PULL_TIMEOUT = 60.0
IN_RANGES = """
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 4
  concurrent_layer_fetch_buffer = 33554432
"""


@pytest.fixture
def ranges_lab(lab: Lab) -> Iterator[Lab]:
    containerd = lab.nodes[2].containerd
    containerd.stop()
    containerd.more_config = IN_RANGES
    containerd.start()
    yield lab
    containerd.stop()
    containerd.more_config = ""
    containerd.start()


def questions(node: Node) -> float:
    """How often it asked who has something."""
    metrics = node.metrics()
    return sum(metrics.get(f"spegel_gossip_{what}_total", 0) for what in ("lookups", "lookup_fetches"))


def hold(lab: Lab, image: images.Artifact, repository: str) -> str:
    reference = lab.registry.push(image, repository, "v1")
    lab.start_nodes()
    for node in lab.nodes[:2]:
        node.containerd.pull(reference)
        lab.nodes[2].wait_holders(image.blobs[1].digest, node.name)
        lab.nodes[2].wait_holders(reference, node.name)
    # While the ring grows, an owner that is new on it may know of one holder and not yet of the other.
    lab.nodes[2].wait_settled()
    lab.registry.stop()
    lab.registry.forget()
    return reference


def test_ranges_of_one_layer_come_from_both_holders(ranges_lab: Lab) -> None:
    a, b, c = ranges_lab.nodes
    image = images.image(901, [LAYER_SIZE])
    reference = hold(ranges_lab, image, "ranges/spread")
    for node in (a, b):
        # At the speed of a link. At memory's, a whole range has left before containerd asks for the next one,
        # and until it asks nobody can know where the first is going to be cut.
        node.namespace.limit_bandwidth(MEGABITS)
    before = {node.name: node.namespace.bytes_sent() for node in (a, b)}
    asked_before = questions(c)

    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []
    requests = re.findall(r"answered.*blobs/.*status=206", c.log.read_text())
    assert len(requests) >= 2, "containerd did not fetch in ranges"
    sent = {node.name: node.namespace.bytes_sent() - before[node.name] for node in (a, b)}
    assert min(sent.values()) > LAYER_SIZE / 10
    # Usually five: the tag, the manifest and the config; the layer's ranges together: whether it spreads, and
    # who has it. One may be asked again; where each of the four ranges asked for itself, it would be eleven.
    assert questions(c) - asked_before <= 8
    # Each is open-ended and closed early by the client, and nothing is fetched beyond the start of the next:
    # what is more than the layer is headers of packets.
    assert sum(sent.values()) < 1.15 * LAYER_SIZE


@pytest.mark.parametrize("killed", [1, 2])
def test_ranges_outlive_their_holders(killed: int, ranges_lab: Lab) -> None:
    c = ranges_lab.nodes[2]
    image = images.image(910 + killed, [LAYER_SIZE])
    reference = hold(ranges_lab, image, f"ranges/killed{killed}")
    if killed == 2:
        ranges_lab.registry.start()
    c.namespace.limit_bandwidth(MEGABITS)
    pull = c.containerd.begin_pull(reference, log=ranges_lab.directory / "pull.log")
    with Growth(c) as growth:
        growth.wait_for(MIDDLE, pull)
        for node in ranges_lab.nodes[:killed]:
            node.kill()
        status = pull.wait(PULL_TIMEOUT)

    assert status == 0, pull.log.read_text()
    assert c.containerd.wrong_digests(image.digests) == []
    upstream = ranges_lab.registry.blob_bytes()
    assert (upstream == 0) if killed == 1 else (upstream > 0)
