"""containerd restarts, dies, and its socket goes away under a running node: the node stays."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from lab import images
from lab.cluster import Lab
from lab.node import Node
from lab.process import wait_until

FOUND_AGAIN_TIMEOUT = 30.0
"""Seconds: the longest pause between two attempts is 10; threefold slack."""


@contextmanager
def killed(node: Node) -> Iterator[None]:
    node.containerd.kill()
    try:
        yield
    finally:
        node.containerd.start()


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    node.containerd.stop()
    try:
        yield
    finally:
        node.containerd.start()


@contextmanager
def forbidden(node: Node) -> Iterator[None]:
    directory = node.containerd.socket.parent
    mode = directory.stat().st_mode
    directory.chmod(0)
    try:
        # An open connection lives on without permission, so containerd restarts meanwhile.
        node.containerd.kill()
        node.containerd.start()
        yield
    finally:
        directory.chmod(mode)


@contextmanager
def moved(node: Node) -> Iterator[None]:
    node.containerd.kill()
    directory = node.containerd.socket.parent
    aside = directory.with_name("run-aside")
    directory.rename(aside)
    try:
        yield
    finally:
        aside.rename(directory)
        node.containerd.start()


def wait_connected(node: Node, *, expected: bool) -> None:
    wait_until(
        lambda: node.admin("/status")["store"]["connected"] is expected,
        what=f"node {node.name} to {'find' if expected else 'miss'} containerd",
        timeout=FOUND_AGAIN_TIMEOUT,
        logs=[node.log],
        still_possible=node.process.is_running,
    )


OUTAGES: list[Callable[[Node], AbstractContextManager[None]]] = [stopped, killed, forbidden, moved]


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_node_serves_from_disk_while_containerd_is_away_and_finds_it_again(
    lab: Lab, outage: Callable[[Node], AbstractContextManager[None]]
) -> None:
    a, b = lab.nodes[:2]
    seed = 500 + OUTAGES.index(outage)
    image = images.image(seed, [0, images.MIB])
    reference = lab.registry.push(image, f"team/app{seed}", "v1")
    lab.start_nodes(nodes=[a, b])
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")
    lab.registry.stop()

    with outage(a):
        wait_connected(a, expected=False)
        status, body = a.readiness()
        assert status == 200
        assert "containerd" in " ".join(body["reasons"])
        b.containerd.pull(reference)
        assert b.containerd.wrong_digests(image.digests) == []
        assert a.process.is_running()

    wait_connected(a, expected=True)
    assert a.is_ready()
    # And it follows what happens there as before.
    lab.registry.start()
    later = images.image(seed + 10, [0, 100_000])
    reference = lab.registry.push(later, f"team/app{seed}", "v2")
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")
    lab.registry.stop()
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(later.digests) == []


def test_a_node_starts_before_its_containerd(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(520, [0, 100_000])
    reference = lab.registry.push(image, "team/before", "v1")
    a.containerd.pull(reference)
    a.containerd.kill()
    lab.start_nodes(nodes=[a, b])
    wait_connected(a, expected=False)
    assert "containerd" in " ".join(a.readiness()[1]["reasons"])

    a.containerd.start()
    wait_connected(a, expected=True)
    b.wait_holders(reference, "a")
    lab.registry.stop()
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(image.digests) == []
