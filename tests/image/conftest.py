"""The image that scripts/image has written, and a lab of two nodes that run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from image.confined import inside
from lab.absent import not_run
from lab.built import image_archive
from lab.cluster import Lab, missing_for_lab
from lab.node import Node


@pytest.fixture(scope="session")
def archive() -> Path:
    """The OCI archive for this machine's processor."""
    return image_archive()


@pytest.fixture(scope="module")
def image_lab() -> Iterator[Lab]:
    """A registry and two containerds, none of our processes."""
    if reason := missing_for_lab():
        not_run(reason)
    with Lab(nodes=2, containerd="debian") as lab:
        for node in lab.nodes:
            _mount_cgroups(node)
        yield lab


def _mount_cgroups(node: Node) -> None:
    # `ip netns exec` gives its command a fresh /sys, and runc looks for cgroups below it.
    hierarchies = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    mounts = ["mount -t tmpfs cgroup /sys/fs/cgroup"]
    for controllers in filter(None, hierarchies):
        name = controllers.removeprefix("name=")
        options = f"none,{controllers}" if name != controllers else controllers
        mounts.append(
            f"mkdir /sys/fs/cgroup/{name} && mount -t cgroup -o {options} cgroup /sys/fs/cgroup/{name}"
        )
    if not any(hierarchies):
        mounts = ["mount -t cgroup2 cgroup2 /sys/fs/cgroup"]
    inside(node, "sh", "-ec", "\n".join(mounts))
