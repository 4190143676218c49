"""A holder whose disk lies: that pull fails, and the next one succeeds from elsewhere."""

import subprocess

from e2e.containerd_bench import ctr_argv
from e2e.fault_recoveries import JUDGED_TIMEOUT, corrupt, error_of_pull, upstream_only, wait_judged
from lab import images
from lab.cluster import Lab
from lab.node import Node
from lab.process import wait_until

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
LAYER_SIZE = 3 * images.MIB


def pull_in_vain(node: Node, reference: str, layer: str) -> None:
    assert error_of_pull(node, reference)
    wait_judged(node)
    assert layer not in node.containerd.digests()


def test_wrong_bytes_fail_one_pull_and_the_next_comes_from_another_holder(lab: Lab) -> None:
    a, b, c = lab.nodes
    image = images.image(701, [LAYER_SIZE])
    layer = image.blobs[1].digest
    reference = lab.registry.push(image, "team/lying-disk", "v1")
    lab.start_nodes()
    a.containerd.pull(reference)
    c.wait_holders(reference, "a")
    corrupt(a, layer, at=LAYER_SIZE // 2)
    pull_in_vain(c, reference, layer)
    b.containerd.pull(reference, hosts=upstream_only(lab))
    c.wait_holders(layer, "b")
    lab.registry.stop()

    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []


def test_where_nobody_else_has_it_the_next_pull_goes_upstream(lab: Lab) -> None:
    a, c = lab.nodes[0], lab.nodes[2]
    image = images.image(702, [LAYER_SIZE])
    layer = image.blobs[1].digest
    reference = lab.registry.push(image, "team/lying-alone", "v1")
    lab.start_nodes(nodes=[a, c])
    a.containerd.pull(reference)
    c.wait_holders(reference, "a")
    corrupt(a, layer, at=LAYER_SIZE // 2)
    pull_in_vain(c, reference, layer)
    lab.registry.forget()

    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []
    assert [one.path.rpartition("/")[2] for one in lab.registry.requests() if one.is_blob] == [layer]


def test_a_wrong_ingest_that_stays_is_aborted(lab: Lab) -> None:
    # What a client without a lease leaves behind: from then on nobody could pull that blob.
    node = lab.nodes[0]
    layer = images.image(703, [LAYER_SIZE]).blobs[1]
    right = b"".join(layer.chunks())
    lab.start_nodes(nodes=[node])
    sizes = ("--expected-size", str(layer.size), "--expected-digest", layer.digest)
    argv = ctr_argv(node.containerd, "content", "ingest", *sizes, f"layer-{layer.digest}")
    failed = subprocess.run(argv, input=right[:-1] + b"!", capture_output=True, check=False)
    assert failed.returncode != 0
    assert node.containerd.ingested_bytes() == layer.size

    wait_until(
        lambda: node.containerd.ingested_bytes() == 0,
        what="the ingest to be aborted",
        timeout=JUDGED_TIMEOUT,
        logs=[node.log],
    )

    subprocess.run(argv, input=right, capture_output=True, check=True)
    assert node.containerd.wrong_digests([layer.digest]) == []
