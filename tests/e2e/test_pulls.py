"""Each shape of image, from a neighbour, while the registry is stopped."""

from collections.abc import Callable

import pytest

from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.node import Node

BIG_PULL_TIMEOUT = 120.0

Pull = Callable[[Node], None]


def pull_from_neighbour(lab: Lab, artifact: Artifact, reference: str, pull: Pull) -> None:
    a, b = lab.nodes[:2]
    pull(a)
    b.wait_holders(reference, a.name)
    lab.registry.stop()
    lab.registry.forget()

    pull(b)

    assert b.containerd.wrong_digests(artifact.digests & a.containerd.digests()) == []
    assert artifact.root.digest in b.containerd.digests()
    assert lab.registry.requests() == []


def whole(node: Node, artifact: Artifact) -> bool:
    return artifact.digests <= node.containerd.digests()


def test_by_digest(running_lab: Lab) -> None:
    image = images.image(11, [0, 300_000])
    running_lab.registry.push(image, "team/by-digest", "v1")
    reference = running_lab.registry.push(image, "team/by-digest", None)
    a, b = running_lab.nodes[:2]
    a.containerd.pull(reference)
    b.wait_holders(image.root.digest, "a")
    running_lab.registry.stop()
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(image.digests) == []


def test_a_multi_platform_index(running_lab: Lab) -> None:
    index = images.index(12, ("amd64", "arm64", "s390x"))
    reference = running_lab.registry.push(index, "team/index", "v1")
    pull_from_neighbour(running_lab, index, reference, lambda node: node.containerd.pull(reference))
    b = running_lab.nodes[1]
    amd64 = images.image(12, [0, 0], architecture="amd64")
    assert amd64.digests <= b.containerd.digests()
    assert not whole(b, index)


def test_every_platform_of_an_index(running_lab: Lab) -> None:
    index = images.index(13, ("amd64", "arm64", "s390x"))
    reference = running_lab.registry.push(index, "team/all", "v1")

    def pull(node: Node) -> None:
        node.containerd.pull(reference, arguments=["--all-platforms"])

    pull_from_neighbour(running_lab, index, reference, pull)
    assert whole(running_lab.nodes[1], index)


def test_twenty_layers(running_lab: Lab) -> None:
    image = images.image(14, [50_000 * (1 + number % 5) for number in range(20)])
    reference = running_lab.registry.push(image, "team/twenty", "v1")
    pull_from_neighbour(running_lab, image, reference, lambda node: node.containerd.pull(reference))
    assert whole(running_lab.nodes[1], image)


def test_compressed_layers_by_the_client_instead_of_the_transfer_service(running_lab: Lab) -> None:
    image = images.image(15, [200_000, 10], compressed=True)
    reference = running_lab.registry.push(image, "team/compressed", "v1")
    pull_from_neighbour(
        running_lab, image, reference, lambda node: node.containerd.pull(reference, local=True)
    )
    assert whole(running_lab.nodes[1], image)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_layer_of_one_gibibyte(running_lab: Lab) -> None:
    image = images.image(16, [images.GIB, 0])
    reference = running_lab.registry.push(image, "team/big", "v1")

    def pull(node: Node) -> None:
        node.containerd.pull(reference, timeout=BIG_PULL_TIMEOUT)

    pull_from_neighbour(running_lab, image, reference, pull)
    assert whole(running_lab.nodes[1], image)
    for node in running_lab.nodes[:2]:
        node.containerd.remove(reference)


@pytest.mark.parametrize(
    ("repository", "tag", "short_name"),
    [
        ("library/alpine", "3", "alpine:3"),
        ("library/busybox", "latest", "busybox"),
        ("team/app", "v1", "team/app:v1"),
    ],
)
def test_docker_short_names(running_lab: Lab, repository: str, tag: str, short_name: str) -> None:
    image = images.image(sum(repository.encode()), [0, 40_000])
    running_lab.registry.push(image, repository, tag)
    reference = f"docker.io/{repository}:{tag}"
    pull_from_neighbour(running_lab, image, reference, lambda node: node.containerd.pull(reference))
    assert whole(running_lab.nodes[1], image)
    found = running_lab.nodes[1].cli_json("holders", short_name)["holders"]
    assert "a" in [one["name"] for one in found]


def fetch(reference: str) -> Pull:
    # What is no image cannot be unpacked. The transfer service knows that by itself.
    def pull(node: Node) -> None:
        if node.containerd.build.has_transfer_service:
            node.containerd.pull(reference)
        else:
            node.containerd.fetch(reference)

    return pull


def test_a_cosign_signature(running_lab: Lab) -> None:
    image = images.image(17)
    running_lab.registry.push(image, "team/signed", "v1")
    tag, signature = images.cosign_signature(image)
    reference = running_lab.registry.push(signature, "team/signed", tag)
    pull_from_neighbour(running_lab, signature, reference, fetch(reference))
    assert whole(running_lab.nodes[1], signature)


def test_a_helm_chart(running_lab: Lab) -> None:
    chart = images.helm_chart(18)
    reference = running_lab.registry.push(chart, "charts/some", "0.1.0")
    pull_from_neighbour(running_lab, chart, reference, fetch(reference))
    assert whole(running_lab.nodes[1], chart)


def test_an_artifact_without_an_image_config(running_lab: Lab) -> None:
    artifact = images.artifact(19, 400_000)
    reference = running_lab.registry.push(artifact, "things/some", "v1")
    pull_from_neighbour(running_lab, artifact, reference, fetch(reference))
    assert whole(running_lab.nodes[1], artifact)
