"""A node that has just joined owns keys that others decided about a moment ago."""

import time

import pytest

from e2e import herds
from e2e.herd_faults import owner_of
from e2e.herds import Herd, Links
from lab import images
from lab.cluster import Lab
from lab.process import wait_until

CONTAINERD_VERSIONS = ("debian",)
LINKS = Links(registry=100.0)

LAST_MINUTE = 62.0
"""Seconds after which the ring of before is the one of a minute ago."""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_layer_whose_owner_has_just_come_is_fetched_once_all_the_same(lab: Lab) -> None:
    # The two of a minute ago agree on who decides; the newcomer asks one of them, though it owns keys now.
    *old, newcomer = lab.nodes
    lab.start_nodes(nodes=old)
    old[0].wait_settled()
    image = images.image(880, [4 * images.MIB] * 8)
    reference = lab.registry.push(image, "who/newcomer")
    herds.limit(lab, LINKS)
    settled_at = time.monotonic()
    wait_until(
        lambda: time.monotonic() - settled_at >= LAST_MINUTE,
        what="the ring of two to be the one of a minute ago",
        timeout=2 * LAST_MINUTE,
    )

    newcomer.start(seeds=[node.address for node in old])
    newcomer.wait_ready()
    for node in lab.nodes:
        node.wait_members(*(one.name for one in lab.nodes))
    with Herd(lab, image, reference) as herd:
        herd.begin(*lab.nodes)
        herd.wait_ended()

    assert any(owner_of(lab, blob.digest) is newcomer for blob in image.blobs[1:])
    assert herd.result().failed == []
    # One may be fetched twice: where an owner is not run for 0.6 s, the next one lets a second node fetch.
    assert herd.result().egress <= 1.0 + 1 / 8
