"""The first pull goes upstream, with containerd's own credentials; the next ones do not."""

import pytest

from lab import images
from lab.cluster import Lab
from lab.process import CommandError


def test_the_registry_sees_the_first_pull_and_none_after_it(running_lab: Lab) -> None:
    a, b, c = running_lab.nodes
    image = images.image(31, [0, 700_000, 2 * images.MIB])
    reference = running_lab.registry.push(image, "team/once", "v1")

    a.containerd.pull(reference)
    assert running_lab.registry.blob_bytes() == sum(blob.size for blob in image.blobs)
    for node in (b, c):
        node.wait_holders(reference, "a")
        node.containerd.pull(reference)

    assert {one.client for one in running_lab.registry.requests()} == {a.address}
    for node in (a, b, c):
        assert node.containerd.wrong_digests(image.digests) == []


def test_layers_shared_with_another_image_come_from_the_neighbour(running_lab: Lab) -> None:
    a, b = running_lab.nodes[:2]
    base, derived = images.derived_images(32, shared_layers=[900_000, 0], own_layers=[20_000])
    base_reference = running_lab.registry.push(base, "team/base", "v1")
    derived_reference = running_lab.registry.push(derived, "team/derived", "v1")
    shared = base.digests & derived.digests
    a.containerd.pull(base_reference)
    b.wait_holders(base_reference, "a")
    running_lab.registry.forget()

    b.containerd.pull(derived_reference)

    assert b.containerd.wrong_digests(derived.digests) == []
    asked = {one.path.rpartition("/")[2] for one in running_lab.registry.requests() if one.is_blob}
    assert asked == {blob.digest for blob in derived.blobs} - shared


def test_a_pull_of_what_nobody_has_fails_fast_while_the_registry_is_stopped(running_lab: Lab) -> None:
    (a, *_) = running_lab.nodes
    running_lab.registry.stop()
    with pytest.raises(CommandError):
        a.containerd.pull("registry.lab/team/nowhere:v1", timeout=15.0)
    status, body = a.mirror("/v2/team/nowhere/manifests/v1?ns=registry.lab")
    assert status == 404
    assert b"MANIFEST_UNKNOWN" in body
