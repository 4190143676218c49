"""The life of a release that finds its members by EndpointSlices: rights, upgrade under load, uninstall."""

from kube.objects import pod
from kube.release import NAME, NAMESPACE, Release
from kubelab.archives import program_image
from kubelab.cluster import KubeCluster
from kubelab.programs import program
from lab.images import MIB
from lab.process import CommandError, wait_until

CONTAINERD_VERSIONS = ("debian",)
VALUES = ("discovery.kind=kubernetes",)


def test_the_token_may_watch_our_own_endpoint_slices_and_nothing_else(
    cluster: KubeCluster, release: Release
) -> None:
    token = cluster.kubectl("create", "token", NAME, "-n", NAMESPACE).strip()

    def may(*question: str) -> bool:
        plane = cluster.control_plane
        where = (f"--server={plane.server}", f"--certificate-authority={plane.pki.authority}")
        as_us = ("--kubeconfig=/dev/null", *where, f"--token={token}")
        try:
            answer = cluster.kubectl(*as_us, "auth", "can-i", *question)
        except CommandError as error:
            return error.output.strip().startswith("yes")
        return answer.strip() == "yes"

    for verb in ("list", "watch"):
        assert may(verb, "endpointslices.discovery.k8s.io", "-n", NAMESPACE)
        assert not may(verb, "endpointslices.discovery.k8s.io", "-n", "default")
        assert not may(verb, "secrets", "-n", NAMESPACE)
    assert not may("create", "configmaps", "-n", NAMESPACE)
    assert not may("list", "nodes")


def test_pulls_succeed_while_the_release_is_upgraded_node_by_node(
    cluster: KubeCluster, release: Release
) -> None:
    holder, *others = cluster.nodes
    image = program_image(program("pause"), layers={20: 4 * MIB}, note="load")
    reference = cluster.push(image, "team/load", "v1")
    holder.pull(reference)
    before = {name: one["metadata"]["uid"] for name, one in release.pods().items()}

    release.begin_upgrade(*VALUES, "podAnnotations.upgraded=yes")
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


def test_the_first_pod_of_a_new_node_starts_while_the_api_server_is_gone_for_the_others(
    cluster: KubeCluster, release: Release
) -> None:
    holder, *others = cluster.nodes
    reference = cluster.push(program_image(program("pause"), note="partly"), "team/partly", "v1")
    holder.pull(reference)
    for node in others:
        node.namespace.black_hole(address=cluster.control_plane.namespace.address)

    (new,) = cluster.add_nodes()
    for node in cluster.nodes:
        release.wait_members(node, len(cluster.nodes))
    release.wait_holder(new, reference, holder.name)
    cluster.registry.stop()
    cluster.apply(pod("partly", reference, node=new.name))

    release.wait_running("partly")
    cluster.kubectl("delete", "pod/partly", "--wait=false")
    for node in others:
        node.namespace.heal()
    for node in others:
        cluster.wait_node(node, is_ready=True)


def test_uninstall_leaves_every_nodes_hosts_files_as_they_were(
    cluster: KubeCluster, release: Release
) -> None:
    changed = [node.hosts_files() != release.hosts_before.get(node.name) for node in cluster.nodes]
    assert all(changed)

    release.uninstall()

    for node in cluster.nodes:
        if node.name in release.hosts_before:
            assert node.hosts_files() == release.hosts_before[node.name]
    # The pods of the hook are told to end, and do.
    wait_until(
        lambda: cluster.get("all", "-n", NAMESPACE)["items"] == [],
        what="nothing to be left of the release",
        timeout=30,
    )
