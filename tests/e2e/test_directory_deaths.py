"""Most holders die at once, and the registry is gone: whatever the last one has can be pulled from it."""

from __future__ import annotations

import time

from lab import images
from lab.cluster import Lab
from lab.process import wait_until

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
NODES = 5
IMAGES = 6

SETTLED_AFTER = 5.0
"""Seconds after the deaths from which on every pull must succeed."""


def test_with_three_of_four_holders_killed_every_pull_succeeds(lab: Lab) -> None:
    *holders, puller = lab.nodes
    lab.start_nodes()
    pushed = [images.image(220 + number, [20_000]) for number in range(IMAGES)]
    references = [
        lab.registry.push(image, f"team/death{number}", "v1") for number, image in enumerate(pushed)
    ]
    for reference in references:
        for holder in holders:
            holder.containerd.pull(reference)
    for reference in references:
        puller.wait_holders(reference, *(holder.name for holder in holders))
    puller.wait_settled()
    lab.registry.stop()
    for holder in holders[:3]:
        holder.kill()
    killed_at = time.monotonic()
    wait_until(
        lambda: time.monotonic() - killed_at > SETTLED_AFTER, what="five seconds to pass", timeout=10.0
    )

    for reference, image in zip(references, pushed, strict=True):
        puller.containerd.pull(reference)
        assert puller.containerd.wrong_digests(image.digests) == []
