"""A release that finds its members by EndpointSlices alone: no name of the cluster resolves."""

from kube.objects import pod
from kube.release import NAME, NAMESPACE, Release
from kubelab.archives import program_image
from kubelab.cluster import KubeCluster
from kubelab.programs import program
from lab.process import CommandError

CONTAINERD_VERSIONS = ("debian",)
VALUES = ("discovery.kind=kubernetes",)
HAS_DNS = False


def test_every_node_finds_the_others_by_their_endpoint_slices(cluster: KubeCluster, release: Release) -> None:
    (probed, *_) = cluster.nodes
    service = f"{NAME}-bootstrap.{NAMESPACE}.svc.cluster.local."
    dns = cluster.control_plane.dns_address
    # Waited for by the fixture: that all are ready and know each other.
    assert sorted(release.pods()) == [node.name for node in cluster.nodes]
    assert not probed.reaches(dns, 53)
    assert f"--seed-dns={service}" in release.pods()[probed.name]["spec"]["containers"][0]["args"]
    assert release.restarts() == 0


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
    assert release.changed_nodes() == [node.name for node in cluster.nodes]
    # The hook's Job finds the hook's pods by name.
    cluster.control_plane.start_dns()

    release.uninstall()

    assert release.changed_nodes() == []
    release.wait_gone()
