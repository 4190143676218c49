"""The inspecting commands against a running cluster, as scripts use them."""

import pytest

from lab import images
from lab.cluster import Lab
from lab.process import CommandError

CONTAINERD_VERSIONS = ("debian",)


def test_members_ring_holders_and_status_agree(running_lab: Lab) -> None:
    a, b, _c = running_lab.nodes
    for node in running_lab.nodes:
        node.wait_settled()
    image = images.image(95, [0, 123_456])
    reference = running_lab.registry.push(image, "team/inspected", "v1")
    b.containerd.pull(reference)
    a.wait_holders(reference, "b")
    layer = image.blobs[2]

    members = a.cli_json("members")
    assert [one["name"] for one in members["members"]] == ["a", "b", "c"]
    assert members["self"] == "a"
    ring = a.cli_json("ring")
    assert sum(one["share"] for one in ring["members"]) == pytest.approx(1.0)
    assert ring["epoch"] == b.cli_json("ring")["epoch"]
    owners = a.cli_json("ring", "--digest", layer.digest)["key"]["owners"]
    assert sorted(one["name"] for one in owners) == ["a", "b", "c"]
    by_tag = a.cli_json("holders", reference)
    assert by_tag["digest"] == image.root.digest
    answer = a.cli_json("holders", layer.digest)
    (holder,) = answer["holders"]
    assert answer["named_by"] == {owner: ["b"] for owner in answer["owners"]}
    assert (holder["name"], holder["kind"], holder["size"]) == ("b", "complete", layer.size)
    status = b.cli_json("status")
    assert status["ready"]
    assert status["members"]["alive"] == 3
    assert status["store"]["blobs"] >= len(image.digests)


@pytest.mark.parametrize("command", [("members",), ("ring",), ("holders", "nginx"), ("status",)])
def test_each_is_readable_too_and_says_what_to_do_without_a_node(
    running_lab: Lab, command: tuple[str, ...]
) -> None:
    (a, *_) = running_lab.nodes
    assert a.cli(*command).strip()
    with pytest.raises(CommandError, match="admin-socket") as failed:
        a.cli(*command, "--admin-socket", "/nonexistent/admin.sock")
    assert failed.value.returncode == 1
