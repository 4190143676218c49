"""The variant on the pods' network: containerd reaches the mirror by a hostPort on the node's loopback."""

from kube.objects import daemon_set
from kube.release import Release
from kubelab.archives import program_image
from kubelab.cluster import KubeCluster
from kubelab.programs import program
from lab.images import MIB
from lab.node import MIRROR_PORT

CONTAINERD_VERSIONS = ("2.1.4",)
VALUES = ("hostNetwork=false",)


def test_an_image_is_rolled_out_through_mirrors_on_the_pods_network(
    cluster: KubeCluster, release: Release
) -> None:
    first, *others = cluster.nodes
    reference = cluster.push(program_image(program("pause"), layers={30: 4 * MIB}), "team/pods", "v1")
    first.pull(reference)
    for node in others:
        release.wait_holder(node, reference, first.name)
    cluster.registry.stop()

    cluster.apply(daemon_set("pods", reference))

    release.wait_rolled_out("pods", len(cluster.nodes))
    for node in others:
        assert cluster.registry.requests(client=node.address) == []
        # Other machines find nothing at that port of the node.
        assert not first.reaches(node.address, MIRROR_PORT)
    cluster.kubectl("delete", "daemonset/pods", "--wait=false")
