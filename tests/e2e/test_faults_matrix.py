"""Whatever happens in the middle of a pull: it succeeds, and from a peer where a peer has the bytes."""

from collections.abc import Iterator

import pytest

from e2e.fault_matrix import FAULTS, LAYER_SIZE, MIDDLE, PULL_TIMEOUT, Fault, FullDisk, play
from lab import images
from lab.cluster import Lab
from lab.containerd import Containerd
from lab.process import CommandError

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
QUICK = {"source black-holed"}
"""Played on every change; the others with the long suite."""

FRAME = images.MIB
"""What may be counted twice where a stream is taken up again: containerd writes in steps of this size."""

CASES = [
    pytest.param(
        fault, id=fault.name.replace(" ", "-"), marks=[] if fault.name in QUICK else pytest.mark.slow
    )
    for fault in FAULTS
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", CASES)
@pytest.mark.parametrize("local", [False, pytest.param(True, marks=pytest.mark.two_ways)], ids=["", "local"])
def test_a_pull_outlives(fault: Fault, local: bool, lab: Lab) -> None:
    outcome = play(lab, fault, seed=800 + FAULTS.index(fault) * 2 + local, local=local)

    assert outcome.succeeded, outcome.log
    if fault.needs_upstream:
        assert 0 < outcome.upstream_bytes <= LAYER_SIZE - MIDDLE + FRAME
    else:
        assert outcome.upstream_bytes == 0
        assert outcome.peer_bytes == 0 or outcome.peer_bytes >= LAYER_SIZE


@pytest.fixture
def on_another_disk(lab: Lab) -> Iterator[Containerd]:
    """A containerd whose content will be on a disk of its own; it starts from nothing afterwards."""
    containerd = lab.nodes[1].containerd
    containerd.delete()
    containerd.start()
    yield containerd
    containerd.delete()
    containerd.start()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_full_disk_fails_the_pull_and_harms_nothing_else(lab: Lab, on_another_disk: Containerd) -> None:
    a, b = lab.nodes[:2]
    image = images.image(790, [LAYER_SIZE])
    reference = lab.registry.push(image, "faults/full", "v1")
    lab.start_nodes(nodes=[a, b])
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")
    lab.registry.stop()
    with FullDisk(b):
        with pytest.raises(CommandError, match="no space left"):
            on_another_disk.pull(reference, timeout=PULL_TIMEOUT)
        assert b.is_ready()
        # What containerd cannot write, the mirror does not mind; it goes on for whoever asks.
        status, body = b.mirror(f"/v2/faults/full/blobs/{image.blobs[0].digest}?ns=registry.lab")
        assert (status, len(body)) == (200, image.blobs[0].size)
