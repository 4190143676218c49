"""Nothing but peers, containerd and the registry can be reached: no API server, no DNS, no way out.

Every lab is like that, and every case ends by counting what went to the API server's address. This file
adds what only looks as if it needed more.
"""

from lab import images
from lab.cluster import Lab

NOWHERE = "10.200.0.1"
"""Beyond the bridge, which swallows it. Not the API server's address: that one counts who asks."""

ALONE_READY_TIMEOUT = 6.0
"""Seconds: the promise is 2, from the start of the process; threefold slack."""


def test_seeds_by_a_dns_name_that_nobody_resolves_hold_nothing_up(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(91, [0, 100_000])
    reference = lab.registry.push(image, "team/no-dns", "v1")
    unresolved = "--seed-dns=spegel-gossip.default.svc.cluster.local"
    a.start(unresolved, seeds=[])
    assert a.wait_ready() <= ALONE_READY_TIMEOUT
    b.start(unresolved, seeds=[a.address])
    b.wait_ready()
    b.wait_members("a", "b", timeout=ALONE_READY_TIMEOUT)
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")
    lab.registry.stop()
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(image.digests) == []


def test_a_seed_that_is_a_black_hole_holds_nothing_up(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    a.start(seeds=[])
    a.wait_ready()
    b.start(seeds=[NOWHERE, a.address])
    assert b.wait_ready() <= ALONE_READY_TIMEOUT
    b.wait_members("a", "b", timeout=ALONE_READY_TIMEOUT)
