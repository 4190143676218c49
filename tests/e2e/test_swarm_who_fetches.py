"""Who gets the leave to fetch: those whose copy others can read, and the same one whoever is asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e import herds
from e2e.herds import Herd, HerdResult, Links
from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.node import Node
from lab.once import assert_sent_once

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
LINKS = Links(registry=100.0)
LAYER = 24 * images.MIB


@contextmanager
def with_unreadable_root(lab: Lab, blind: Node) -> Iterator[None]:
    """Run all nodes, one of which may ask its containerd and not read what it has on disk."""
    # A containerd 2 makes the directory with its first pull.
    for node in lab.nodes:
        node.containerd.pull(lab.registry.push(images.image(879), "who/first"))
    mode = blind.containerd.content.stat().st_mode
    blind.containerd.content.chmod(0)
    try:
        herds.start(lab)
        yield
    finally:
        blind.containerd.content.chmod(mode)


def push(lab: Lab, seed: int) -> tuple[Artifact, str]:
    image = images.image(seed, [LAYER])
    reference = lab.registry.push(image, f"who/app{seed}")
    herds.limit(lab, LINKS)
    return image, reference


def assert_all_have_it(result: HerdResult, *, most: float) -> None:
    assert result.failed == []
    assert result.egress <= most


def test_a_node_with_an_unreadable_root_reads_from_others_and_fetches_where_it_is_alone(lab: Lab) -> None:
    blind, *others = lab.nodes

    def play(seed: int) -> float:
        image, reference = push(lab, seed)
        with Herd(lab, image, reference) as herd:
            herd.begin(others[0])
            herd.wait_for(2 * images.MIB)
            herd.begin(blind, others[1])
            herd.wait_ended()
        assert herd.result().failed == []
        return herd.result().egress

    with with_unreadable_root(lab, blind):
        assert_sent_once(play, 870)

        image, reference = push(lab, 871)
        with Herd(lab, image, reference) as herd:
            herd.begin(blind)
            herd.wait_ended()
        assert_all_have_it(herd.result(), most=1.0)


def test_nobody_waits_for_a_copy_that_cannot_be_read(lab: Lab) -> None:
    blind, *others = lab.nodes
    with with_unreadable_root(lab, blind):
        image, reference = push(lab, 872)
        with Herd(lab, image, reference) as herd:
            herd.begin(blind)
            herd.wait_for(2 * images.MIB)
            herd.begin(*others)
            herd.wait_ended()

    # Once for itself, and once for all others.
    assert_all_have_it(herd.result(), most=2.0)
