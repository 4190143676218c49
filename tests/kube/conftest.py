"""A cluster with our release in it, for each version of containerd that a file is about."""

from collections.abc import Iterator

import pytest

from kube.release import IMAGE, Release
from kubelab.archives import read_archive
from kubelab.cluster import KubeCluster, missing_for_cluster
from lab.absent import not_run
from lab.built import image_archive

VERSIONS = ("2.1.4", "debian")
NODES = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # A file says with CONTAINERD_VERSIONS, VALUES of the chart and HAS_DNS what it is about, if not usual.
    if "containerd_version" in metafunc.fixturenames:
        offered = getattr(metafunc.module, "CONTAINERD_VERSIONS", VERSIONS)
        wanted = metafunc.config.getoption("--containerd").split(",")
        chosen = [one for one in offered if wanted == ["all"] or one in wanted]
        metafunc.parametrize("containerd_version", chosen, scope="module")


@pytest.fixture(scope="module")
def cluster(containerd_version: str) -> Iterator[KubeCluster]:
    """Three nodes, and our image in their registry; nothing of ours runs."""
    if reason := missing_for_cluster(containerd_version):
        not_run(reason)
    archive = image_archive()
    with KubeCluster(nodes=NODES, containerd=containerd_version) as cluster:
        cluster.push(read_archive(archive), "spegel-gossip", "dev")
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: KubeCluster, request: pytest.FixtureRequest) -> Release:
    """Our release, ready on all nodes."""
    if not getattr(request.module, "HAS_DNS", True):
        cluster.control_plane.stop_dns()
    release = Release(cluster, IMAGE)
    release.install(*getattr(request.module, "VALUES", ()))
    return release


@pytest.fixture
def release(cluster: KubeCluster, installed: Release) -> Iterator[Release]:
    """Our release on nodes that all run, with a registry that runs and counts from here."""
    cluster.registry.start()
    installed.wait_ready(len(cluster.nodes))
    cluster.registry.forget()
    yield installed
    for node in cluster.nodes:
        node.namespace.heal()
    cluster.registry.namespace.lift_bandwidth_limit()
    cluster.registry.start()
