"""Nodes pull one new image in the same second: the registry sends each blob once."""

import pytest

from e2e import herds
from e2e.herds import Herd, HerdResult, Links
from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.once import assert_sent_once
from lab.process import wait_until

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
NODES = 8
LINKS = Links(registry=200.0, node=400.0)
MAX_EGRESS = 1.05


@pytest.fixture
def herd_lab(lab: Lab) -> Lab:
    herds.start(lab)
    return lab


def push(lab: Lab, image: Artifact, repository: str) -> str:
    reference = lab.registry.push(image, repository)
    herds.limit(lab, LINKS)
    return reference


def assert_all_have_it(result: HerdResult, *, most: float) -> None:
    assert result.failed == []
    assert result.egress <= most


def accounts(lab: Lab) -> tuple[int, int]:
    """Bytes that the nodes say they took from upstream so far, and from each other."""
    sums = [node.cli_json("leases")["bytes"] for node in lab.nodes]
    return sum(one["upstream"] for one in sums), sum(one["saved"] for one in sums)


def assert_accounted(herd: Herd, before: tuple[int, int]) -> None:
    nodes, result = herd.lab.nodes, herd.result()
    wait_until(
        lambda: all(f"image={herd.reference}" in node.log.read_text() for node in nodes),
        what="each node's line about the image",
        timeout=10,
        logs=[node.log for node in nodes],
    )
    upstream, saved = (after - earlier for after, earlier in zip(accounts(herd.lab), before, strict=True))
    sent = MAX_EGRESS * result.blob_bytes
    assert upstream <= sent
    assert saved >= len(nodes) * result.size - sent


@pytest.mark.parametrize("layers", [(4, 8), (1, 32), (10, 2)], ids=["four", "one", "ten"])
def test_a_cold_herd_asks_the_registry_once(herd_lab: Lab, layers: tuple[int, int]) -> None:
    count, mebibytes = layers

    def play(seed: int) -> float:
        image = images.image(seed, [mebibytes * images.MIB] * count)
        before = accounts(herd_lab)
        with Herd(herd_lab, image, push(herd_lab, image, f"herd/app{seed}")) as herd:
            herd.begin(*herd_lab.nodes)
            herd.wait_ended()
        requests = herd_lab.registry.requests()
        assert len([one for one in requests if one.is_manifest and one.method == "GET"]) <= 2
        assert herd.result().failed == []
        assert_accounted(herd, before)
        return herd.result().egress

    assert_sent_once(play, 900 + count, most=MAX_EGRESS)


def test_pulls_a_moment_apart_read_what_is_still_arriving(herd_lab: Lab) -> None:
    def play(seed: int) -> float:
        image = images.image(seed, [48 * images.MIB])
        with Herd(herd_lab, image, push(herd_lab, image, f"herd/staggered{seed}")) as herd:
            for node in herd_lab.nodes[:4]:
                herd.begin(node)
                herd.wait_for(2 * images.MIB, [node])
            herd.wait_ended()
        assert herd.result().failed == []
        return herd.result().egress

    assert_sent_once(play, 910, most=MAX_EGRESS)


def test_a_warm_roll_out_asks_the_registry_for_no_blob(herd_lab: Lab) -> None:
    image = images.image(920, [16 * images.MIB] * 2)
    reference = push(herd_lab, image, "herd/warm")
    first, *others = herd_lab.nodes
    first.containerd.pull(reference)
    for node in others:
        node.wait_holders(reference, first.name)
    herd_lab.registry.forget()

    with Herd(herd_lab, image, reference) as herd:
        herd.begin(*others)
        herd.wait_ended()

    assert_all_have_it(herd.result(), most=0.0)


def test_one_node_that_pulls_alone_fetches_everything_once(herd_lab: Lab) -> None:
    image = images.image(930, [8 * images.MIB] * 3)
    alone = herd_lab.nodes[3]

    with Herd(herd_lab, image, push(herd_lab, image, "herd/alone")) as herd:
        herd.begin(alone)
        herd.wait_ended()

    assert_all_have_it(herd.result(), most=1.0)
    assert sum(value for name, value in alone.metrics().items() if name.endswith("_yields_total")) == 0
