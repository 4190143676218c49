"""A real DaemonSet on three real nodes: roll-outs, and everything that happens to nodes."""

from collections import Counter

from kube.objects import daemon_set, pod
from kube.release import Release
from kubelab.archives import program_image
from kubelab.cluster import KubeCluster
from kubelab.programs import program
from lab.images import MIB, Artifact
from lab.once import assert_sent_once

HERD_MEGABITS = 50.0


def app(seed: int, size: int = 4 * MIB) -> Artifact:
    return program_image(program("pause"), layers={seed: size}, note=f"app {seed}")


def test_every_node_runs_one_and_all_know_each_other(cluster: KubeCluster, release: Release) -> None:
    assert sorted(release.pods()) == [node.name for node in cluster.nodes]
    assert release.restarts() == 0


def test_an_image_that_is_new_to_all_nodes_is_fetched_from_the_registry_once(
    cluster: KubeCluster, release: Release
) -> None:
    def play(seed: int) -> float:
        image, name = app(seed, 16 * MIB), f"herd-{seed}"
        reference = cluster.push(image, f"team/{name}", "v1")
        # Slow enough for all kubelets to want it while it is on its way to the first.
        cluster.registry.namespace.limit_bandwidth(HERD_MEGABITS)
        cluster.registry.forget()
        cluster.apply(daemon_set(name, reference))
        release.wait_rolled_out(name, len(cluster.nodes))
        fetched = Counter(one.path for one in cluster.registry.requests() if one.is_blob)
        assert {path.rpartition("/")[2] for path in fetched} >= {image.blobs[-1].digest}
        # A kubelet that comes late has a peer resolve the tag, and never asks the registry.
        assert {one.client for one in cluster.registry.requests()} <= {node.address for node in cluster.nodes}
        cluster.kubectl("delete", f"daemonset/{name}", "--wait=false")
        size = sum(blob.size for blob in image.blobs)
        return max(*fetched.values(), cluster.registry.blob_bytes() / size)

    assert_sent_once(play, 7)


def test_an_image_that_one_node_has_is_rolled_out_without_the_registry(
    cluster: KubeCluster, release: Release
) -> None:
    first, *others = cluster.nodes
    image = app(1)
    reference = cluster.push(image, "team/rolled-out", "v1")
    cluster.apply(pod("first", reference, node=first.name))
    release.wait_running("first")
    for node in others:
        release.wait_holder(node, reference, first.name)
    cluster.registry.stop()

    cluster.apply(daemon_set("rolled-out", reference))

    release.wait_rolled_out("rolled-out", len(cluster.nodes))
    for node in others:
        assert cluster.registry.requests(client=node.address) == []
    cluster.kubectl("delete", "daemonset/rolled-out", "pod/first", "--wait=false")


def test_a_new_node_pulls_its_first_image_from_its_peers(cluster: KubeCluster, release: Release) -> None:
    holder = cluster.nodes[0]
    reference = cluster.push(app(2), "team/first-image", "v1")
    holder.pull(reference)

    (new,) = cluster.add_nodes()
    release.wait_ready(len(cluster.nodes))
    release.wait_holder(new, reference, holder.name)
    cluster.registry.forget()
    cluster.registry.stop()
    cluster.apply(pod("first-image", reference, node=new.name))

    release.wait_running("first-image")
    assert cluster.registry.requests() == []
    cluster.kubectl("delete", "pod/first-image", "--wait=false")


def test_pulls_go_on_while_one_node_cannot_reach_the_api_server(
    cluster: KubeCluster, release: Release
) -> None:
    holder, cut_off = cluster.nodes[:2]
    reference = cluster.push(app(3), "team/one-cut-off", "v1")
    cut_off.namespace.black_hole(address=cluster.control_plane.namespace.address)
    cluster.wait_node(cut_off, is_ready=False)
    holder.pull(reference)
    release.wait_holder(cut_off, reference, holder.name)
    cluster.registry.stop()

    cut_off.pull(reference)

    assert release.alive(cut_off) == len(cluster.nodes)
    cut_off.namespace.heal()
    cluster.wait_node(cut_off, is_ready=True)
    assert release.restarts() == 0


def test_pulls_go_on_while_no_node_can_reach_the_api_server(cluster: KubeCluster, release: Release) -> None:
    holder, *others = cluster.nodes
    reference = cluster.push(app(4), "team/all-cut-off", "v1")
    for node in cluster.nodes:
        node.namespace.black_hole(address=cluster.control_plane.namespace.address)
    for node in cluster.nodes:
        cluster.wait_node(node, is_ready=False)
    holder.pull(reference)
    for node in others:
        release.wait_holder(node, reference, holder.name)
    cluster.registry.stop()

    for node in others:
        node.pull(reference)

    for node in cluster.nodes:
        assert release.alive(node) == len(cluster.nodes)
        node.namespace.heal()
    for node in cluster.nodes:
        cluster.wait_node(node, is_ready=True)
    assert release.restarts() == 0


def test_a_node_comes_back_after_a_power_cut_with_what_it_had(cluster: KubeCluster, release: Release) -> None:
    cut, *others = cluster.nodes[::-1]
    reference = cluster.push(app(5), "team/power", "v1")
    cut.pull(reference)
    release.wait_holder(others[0], reference, cut.name)

    cut.power_off()
    for node in others:
        release.wait_members(node, len(others))
    cluster.start_nodes([cut])

    release.wait_ready(len(cluster.nodes))
    release.wait_holder(others[0], reference, cut.name)
    cluster.registry.stop()
    others[0].pull(reference)


def test_pulls_succeed_while_the_release_is_upgraded_node_by_node(
    cluster: KubeCluster, release: Release
) -> None:
    holder, *others = cluster.nodes
    reference = cluster.push(app(8), "team/load", "v1")
    holder.pull(reference)
    before = {name: one["metadata"]["uid"] for name, one in release.pods().items()}

    release.begin_upgrade("podAnnotations.upgraded=yes")
    pulls = 0
    while not release.is_upgraded():
        for node in others:
            node.pull(reference)
            node.ctr("images", "rm", "--sync", reference)
            pulls += 1

    assert pulls >= len(others)
    after = {name: one["metadata"]["uid"] for name, one in release.pods().items()}
    assert sorted(after) == sorted(before)
    assert not set(after.values()) & set(before.values())
    assert release.restarts() == 0
    release.wait_ready(len(cluster.nodes))
    release.wait_holder(others[0], reference, holder.name)
    cluster.registry.stop()
    others[0].pull(reference)


def test_a_node_that_is_removed_is_forgotten_and_its_images_are_elsewhere(
    cluster: KubeCluster, release: Release
) -> None:
    *others, leaving = cluster.nodes
    reference = cluster.push(app(6), "team/removed", "v1")
    leaving.pull(reference)
    release.wait_holder(others[0], reference, leaving.name)
    others[0].pull(reference)

    cluster.remove_node(leaving)

    for node in others:
        release.wait_members(node, len(others))
    release.wait_holder(others[1], reference, others[0].name)
    cluster.registry.stop()
    others[1].pull(reference)


def test_uninstall_leaves_every_nodes_hosts_files_as_they_were(
    cluster: KubeCluster, installed: Release
) -> None:
    # Not `release`: Kubernetes counts the node that was removed for a minute more.
    release = installed
    assert release.changed_nodes() == [node.name for node in cluster.nodes]

    release.uninstall()

    assert release.changed_nodes() == []
    release.wait_gone()
