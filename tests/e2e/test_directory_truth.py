"""What the directory says of real containerds is true: what goes is not named, what is there is found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lab import images
from lab.cluster import Lab
from lab.images import Artifact
from lab.node import Node
from lab.process import wait_until
from lab.registry import HOST

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
WITHDRAWN_TIMEOUT = 3.0
"""A second, with threefold slack."""

SLOW_MEGABITS = 8.0
"""Of the registry: 24 MiB would take it 25 seconds."""

GROWING_TIMEOUT = 60.0


def layer_of(image: Artifact) -> str:
    return image.blobs[1].digest


def hold(reference: str, holder: Node, asker: Node) -> None:
    holder.containerd.pull(reference)
    asker.wait_holders(reference, holder.name)
    asker.wait_settled()


def status_of_tag(node: Node, repository: str, tag: str) -> int:
    return node.mirror(f"/v2/{repository}/manifests/{tag}?ns={HOST}")[0]


def wait_unnamed(asker: Node, key: str) -> None:
    wait_until(
        lambda: asker.holders(key) == [], what=f"nobody to be named for {key}", timeout=WITHDRAWN_TIMEOUT
    )


def test_what_was_removed_and_collected_is_not_advertised_a_second_later(running_lab: Lab) -> None:
    a, b = running_lab.nodes[:2]
    image = images.image(201, [0, 30_000])
    reference = running_lab.registry.push(image, "team/removed", "v1")
    hold(reference, a, b)

    a.containerd.remove(reference)

    for key in (reference, image.root.digest, layer_of(image)):
        wait_unnamed(b, key)


def test_what_was_imported_without_labels_is_found(running_lab: Lab) -> None:
    a, b, c = running_lab.nodes
    image = images.image(202, [0, 40_000])
    reference = running_lab.registry.push(image, "team/imported", "v1")
    a.containerd.pull(reference)
    archive = str(running_lab.directory / "imported.tar")
    a.containerd.ctr("images", "export", *a.containerd.build.locally, archive, reference)
    a.containerd.remove(reference)
    b.containerd.ctr("images", "import", *b.containerd.build.locally, archive)
    running_lab.registry.stop()

    c.wait_holders(reference, "b")
    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []
    assert "a" not in c.holders(image.root.digest)


def test_an_image_with_a_collected_layer_does_not_resolve_by_tag(running_lab: Lab) -> None:
    a, b = running_lab.nodes[:2]
    image = images.image(203, [0, 50_000])
    reference = running_lab.registry.push(image, "team/collected", "v1")
    hold(reference, a, b)
    assert status_of_tag(b, "team/collected", "v1") == 200

    a.containerd.ctr("content", "rm", layer_of(image))

    wait_unnamed(b, reference)
    wait_unnamed(b, layer_of(image))
    for node in (a, b):
        # What was looked up a moment ago is believed for a second.
        wait_until(
            lambda node=node: status_of_tag(node, "team/collected", "v1") == 404,  # type: ignore[misc]
            what=f"the tag not to resolve at node {node.name}",
            timeout=WITHDRAWN_TIMEOUT,
        )
    assert b.holders(image.root.digest) == ["a"], "what is still there is still found"


def test_a_holder_whose_file_was_removed_under_it_costs_one_retry_at_most(running_lab: Lab) -> None:
    a, b, c = running_lab.nodes
    image = images.image(204, [60_000])
    reference = running_lab.registry.push(image, "team/under", "v1")
    for holder in (a, b):
        hold(reference, holder, c)
    running_lab.registry.stop()
    running_lab.registry.forget()
    before = c.metrics().get("spegel_gossip_directory_misses_total", 0.0)

    a.containerd.blob_path(layer_of(image)).unlink()
    c.containerd.pull(reference)

    assert c.containerd.wrong_digests(image.digests) == []
    after = c.metrics().get("spegel_gossip_directory_misses_total", 0.0)
    assert after - before <= 1
    assert running_lab.registry.requests() == []


def test_a_purged_tag_is_asked_of_the_registry_again(running_lab: Lab) -> None:
    a, b, c = running_lab.nodes
    old, new = images.image(205), images.image(206)
    reference = running_lab.registry.push(old, "team/purged", "v1")
    hold(reference, a, b)
    running_lab.registry.push(new, "team/purged", "v1")
    assert b.cli_json("holders", reference)["digest"] == old.root.digest

    purged = b.cli_json("purge", reference)

    assert (purged["members"], purged["told"]) == (3, 3)
    for node in (a, b, c):
        assert status_of_tag(node, "team/purged", "v1") == 404
    c.containerd.pull(reference)
    b.wait_holders(reference, "c")
    assert b.cli_json("holders", reference)["digest"] == new.root.digest
    assert b.cli_json("explain", reference)["tag"]["decision"]["source"] == "peer"


def test_explain_says_what_a_pull_then_does(running_lab: Lab) -> None:
    a, b, c = running_lab.nodes
    image = images.image(208, [0, 30_000])
    reference = running_lab.registry.push(image, "team/explained", "v1")
    nothing = b.cli_json("explain", reference)
    assert (nothing["tag"]["decision"]["source"], nothing["parts"]) == ("upstream", [])
    hold(reference, a, b)

    explained = b.cli_json("explain", reference)

    assert explained["tag"]["digest"] == image.root.digest
    assert {part["digest"] for part in explained["parts"]} == image.digests
    assert [part["role"] for part in explained["parts"]] == ["manifest", "config", "layer", "layer"]
    for part in explained["parts"]:
        assert part["decision"]["members"] == ["a"], part
        assert [holder["name"] for holder in part["holders"]] == ["a"]
        assert sorted(owner["name"] for owner in part["owners"]) == ["a", "b", "c"]
    at_a = a.cli_json("explain", reference)
    assert {part["decision"]["source"] for part in at_a["parts"]} == {"local"}
    running_lab.registry.stop()
    b.containerd.pull(reference)
    assert running_lab.registry.requests(client=b.address) == []
    assert "manifest" in c.cli("explain", image.root.digest)


def test_explain_shows_who_fetches_a_blob_for_all_and_that_its_growing_copy_is_read(running_lab: Lab) -> None:
    a, _, c = running_lab.nodes
    size = 24 * images.MIB
    image = images.image(209, [size])
    reference = running_lab.registry.push(image, "team/growing", "v1")
    running_lab.registry.namespace.limit_bandwidth(SLOW_MEGABITS)
    layer = layer_of(image)

    def explained() -> Any:  # noqa: ANN401 - the command's JSON
        return c.cli_json("explain", layer)["parts"][0]

    pull = a.containerd.begin_pull(reference, log=Path(running_lab.directory, "pull-a.log"))
    wait_until(
        lambda: any(one["offset"] for one in explained()["leases"]),
        what="the lease of a growing copy to be shown",
        timeout=GROWING_TIMEOUT,
        logs=[pull.log, a.log],
    )
    part = explained()
    printed = c.cli("explain", layer)
    running_lab.registry.namespace.lift_bandwidth_limit()
    wait_until(
        lambda: not pull.is_running(), what="the pull to end", timeout=GROWING_TIMEOUT, logs=[pull.log]
    )

    [lease], [partial] = part["leases"], part["partials"]
    assert (lease["holder"], partial["name"], partial["reads_from"]) == ("a", "a", "")
    assert 0 < partial["offset"] <= partial["total"] == image.blobs[1].size
    assert (part["decision"]["source"], part["decision"]["members"]) == ("peer", ["a"])
    assert "registry, lease of" in printed
    wait_until(
        lambda: not explained()["leases"] and c.holders(layer) == ["a"],
        what="the lease to end with the blob at its holder",
        timeout=GROWING_TIMEOUT,
    )


def test_when_a_tag_was_seen_is_known_after_a_restart(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(207)
    reference = lab.registry.push(image, "team/app", "latest")
    lab.start_nodes(nodes=[a, b])
    pulled_at = time.time()
    hold(reference, a, b)

    a.restart()
    b.wait_holders(reference, "a")
    b.wait_settled()
    tag = b.cli_json("explain", reference)["tag"]

    assert abs(tag["observed_at"] - pulled_at) < 20.0
    assert tag["policy"] == "fresh:30s"
