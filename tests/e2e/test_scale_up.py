"""A cluster of one is a whole cluster, and no node of it is special, the first one least of all."""

from lab import images
from lab.cluster import Lab
from lab.node import Node

ALONE_READY_TIMEOUT = 6.0
"""Seconds: the promise is 2, from the start of the process; threefold slack."""

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")


def pull_a_new_image(lab: Lab, seed: int, *, first: Node, then: Node) -> None:
    image = images.image(seed, [0, 400_000])
    lab.registry.start()
    reference = lab.registry.push(image, f"team/app{seed}", "v1")
    first.containerd.pull(reference)
    then.wait_holders(reference, first.name)
    lab.registry.stop()
    then.containerd.pull(reference)
    assert then.containerd.wrong_digests(image.digests) == []


def test_one_node_grows_to_three_and_the_first_may_die_and_return(lab: Lab) -> None:
    a, b, c = lab.nodes
    image = images.image(41, [0, 3 * images.MIB])
    reference = lab.registry.push(image, "team/scale", "v1")

    a.start(seeds=[])
    assert a.wait_ready() <= ALONE_READY_TIMEOUT
    assert a.live_members() == ["a"]
    a.containerd.pull(reference)
    a.wait_holders(reference, "a")
    status, body = a.mirror("/v2/team/scale/manifests/v1?ns=registry.lab")
    assert (status, body) == (200, image.root.head)
    lab.registry.stop()

    b.start(seeds=[a.address])
    b.wait_ready()
    b.wait_members("a", "b")
    a.wait_members("a", "b")
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(image.digests) == []

    a.kill()
    c.start(seeds=[b.address])
    c.wait_ready()
    c.wait_holders(reference, "b")
    c.containerd.pull(reference)
    assert c.containerd.wrong_digests(image.digests) == []
    b.wait_members("b", "c")

    a.start(seeds=[b.address, c.address])
    a.wait_ready()
    for node in lab.nodes:
        node.wait_members("a", "b", "c")
    pull_a_new_image(lab, 42, first=a, then=c)
    pull_a_new_image(lab, 43, first=b, then=a)


def test_a_node_that_leaves_is_gone_at_once_and_its_neighbours_go_on(lab: Lab) -> None:
    a, b, c = lab.nodes
    lab.start_nodes()
    assert a.stop() == 0
    for node in (b, c):
        node.wait_members("b", "c", timeout=6.0)
        assert node.member_states()["a"] == "left"
    pull_a_new_image(lab, 44, first=b, then=c)


def test_a_node_waits_for_its_seed_and_is_ready_meanwhile(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    b.start(seeds=[a.address])
    b.wait_ready()
    b.wait_explained("seed")
    assert b.live_members() == ["b"]
    a.start(seeds=[])
    a.wait_ready()
    b.wait_members("a", "b", timeout=90.0)
    pull_a_new_image(lab, 45, first=a, then=b)
