"""Whatever happens in the middle of a pull: it succeeds, and from a peer where a peer has the bytes."""

import pytest

from e2e.fault_matrix import FAULTS, LAYER_SIZE, MIDDLE, Fault, play
from e2e.fault_recoveries import RECOVERIES
from lab import images
from lab.cluster import Lab

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


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", RECOVERIES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("local", [False, pytest.param(True, marks=pytest.mark.two_ways)], ids=["", "local"])
def test_the_pull_after_one_that_failed_comes_from_a_peer(fault: str, local: bool, lab: Lab) -> None:
    seed = 850 + list(RECOVERIES).index(fault) * 2 + local

    recovery = RECOVERIES[fault](lab, seed=seed, local=local)

    assert recovery.first_error != ""
    assert recovery.next.succeeded, recovery.next.log
    assert recovery.next.upstream_bytes == 0
