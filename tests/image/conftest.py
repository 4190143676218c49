"""The image that scripts/image has written, and a lab of two nodes that run it."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from image.confined import inside
from lab.cluster import Lab, missing_for_lab
from lab.node import Node
from spegel_gossip.version import __version__

DIST = Path(__file__).resolve().parents[2] / "dist"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _not_run(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this, but {reason}")
    pytest.skip(f"not run: {reason}")


@pytest.fixture(scope="session")
def archive() -> Path:
    """The OCI archive for this machine's processor."""
    path = DIST / f"spegel-gossip-{__version__}-{ARCHITECTURES[platform.machine()]}.tar"
    if not path.exists():
        _not_run(f"there is no {path}: scripts/image builds it")
    return path


@pytest.fixture(scope="module")
def image_lab() -> Iterator[Lab]:
    """A registry and two containerds, none of our processes."""
    if reason := missing_for_lab():
        _not_run(reason)
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
