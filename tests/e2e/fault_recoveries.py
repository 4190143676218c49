"""Faults that cost a pull, and the next pull: a holder's disk that lies, and a puller's disk that is full.

Nobody can save the first pull. What counts is that it is the only one, and where the next finds its bytes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.fault_matrix import MEGABITS, PULL_TIMEOUT, Growth, Outcome, peer_bytes
from lab import images
from lab.cluster import Lab
from lab.containerd import Containerd
from lab.node import Node
from lab.process import CommandError, run, wait_until
from lab.registry import HOST

LAYER_SIZE = 40 * images.MIB
FULL_DISK_MIB = 16
ENOUGH_MIB = 256
JUDGED_TIMEOUT = 45.0
"""Five seconds at rest, a hash and an abort; the machine may be busy."""

WRONG_BLOBS = "spegel_gossip_containerd_wrong_blobs_total"
NO_SPACE = "no space left on device"


@dataclass(frozen=True)
class Recovery:
    """What became of the two pulls."""

    first_error: str
    """What containerd said of the first; empty if it succeeded after all."""

    next: Outcome


def corrupt(node: Node, digest: str, *, at: int) -> None:
    """Change one byte of a blob on disk, behind containerd's back."""
    with node.containerd.blob_path(digest).open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def error_of_pull(node: Node, reference: str, *, local: bool = False) -> str:
    """Pull, and return what containerd said if it failed."""
    try:
        node.containerd.pull(reference, local=local, timeout=PULL_TIMEOUT)
    except CommandError as error:
        return error.output
    return ""


def wait_judged(node: Node) -> None:
    """Wait until a node has found a blob wrong."""
    wait_until(
        lambda: node.metrics().get(WRONG_BLOBS, 0) >= 1,
        what=f"node {node.name} to find the blob wrong",
        timeout=JUDGED_TIMEOUT,
        logs=[node.log],
    )


def upstream_only(lab: Lab) -> Path:
    """A hosts directory by which containerd asks upstream alone."""
    directory = lab.directory / "upstream-only"
    (directory / HOST).mkdir(parents=True, exist_ok=True)
    url = lab.registry.url
    text = f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
    (directory / HOST / "hosts.toml").write_text(text)
    return directory


def observed_pull(lab: Lab, node: Node, reference: str, image: images.Artifact, *, local: bool) -> Outcome:
    """Pull, and say where the bytes came from and how long it paused."""
    before, began = peer_bytes(node), time.monotonic()
    pull = node.containerd.begin_pull(reference, log=lab.directory / "pull.log", local=local)
    with Growth(node) as growth:
        status = pull.wait(PULL_TIMEOUT)
    seconds = time.monotonic() - began
    log = pull.log.read_text(errors="replace")
    return Outcome(
        status == 0,
        log,
        peer_bytes(node) - before,
        lab.registry.blob_bytes(image),
        growth.longest_pause,
        seconds,
    )


def lying_disk(lab: Lab, *, seed: int, local: bool) -> Recovery:
    """The only holder sends wrong bytes; by the next pull there is another, and no registry."""
    a, b, c = lab.nodes
    image = images.image(seed, [LAYER_SIZE])
    layer = image.blobs[1].digest
    reference = lab.registry.push(image, f"faults/lying{seed}", "v1")
    lab.start_nodes()
    a.containerd.pull(reference)
    c.wait_holders(reference, "a")
    corrupt(a, layer, at=LAYER_SIZE // 2)
    first_error = error_of_pull(c, reference, local=local)
    wait_judged(c)
    b.containerd.pull(reference, hosts=upstream_only(lab))
    c.wait_holders(layer, "b")
    lab.registry.stop()
    lab.registry.forget()
    c.namespace.limit_bandwidth(MEGABITS)
    return Recovery(first_error, observed_pull(lab, c, reference, image, local=local))


def full_disk(lab: Lab, *, seed: int, local: bool) -> Recovery:
    """The puller's disk is too small; by the next pull somebody made room."""
    a, _, c = lab.nodes
    image = images.image(seed, [LAYER_SIZE])
    reference = lab.registry.push(image, f"faults/full{seed}", "v1")
    with SmallDisk(c.containerd) as disk:
        lab.start_nodes(nodes=[a, c])
        a.containerd.pull(reference)
        c.wait_holders(reference, "a")
        lab.registry.stop()
        lab.registry.forget()
        c.namespace.limit_bandwidth(MEGABITS)
        first_error = error_of_pull(c, reference, local=local)
        disk.grow()
        recovery = Recovery(first_error, observed_pull(lab, c, reference, image, local=local))
        c.end()
    return recovery


RECOVERIES: Mapping[str, Callable[..., Recovery]] = {"wrong bytes": lying_disk, "disk full": full_disk}


class SmallDisk:
    """Puts a containerd's content on a disk of its own that is too small, for the length of a block.

    The containerd begins from nothing, within and afterwards; our process is to be started within.
    """

    def __init__(self, containerd: Containerd) -> None:
        self._containerd = containerd
        self._path = str(containerd.content)

    def __enter__(self) -> "SmallDisk":
        self._containerd.delete()
        self._containerd.content.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={FULL_DISK_MIB}m", "spegel-gossip-test", self._path)
        self._containerd.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._containerd.kill()
        run("umount", "--lazy", self._path)
        self._containerd.delete()
        self._containerd.start()

    def grow(self) -> None:
        """Make room on it."""
        run("mount", "-o", f"remount,size={ENOUGH_MIB}m", self._path)
