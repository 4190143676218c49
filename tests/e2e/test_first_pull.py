"""What the project is for: a containerd pulls by tag from its neighbour while the registry is off."""

from lab import images
from lab.cluster import Lab

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")


def test_a_node_pulls_by_tag_what_its_neighbour_has_while_the_registry_is_stopped(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(1, [0, 5 * images.MIB, 0])
    reference = lab.registry.push(image, "team/first", "v1")
    lab.start_nodes(nodes=[a, b])
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")

    lab.registry.stop()
    b.containerd.pull(reference)

    assert b.containerd.wrong_digests(image.digests) == []
    assert lab.registry.requests(client=b.address) == []
