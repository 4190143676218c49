"""A cluster with our release in it, for each version of containerd that a file is about."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.release import Release
from kubelab.archives import read_archive
from kubelab.cluster import KubeCluster, missing_for_cluster
from spegel_gossip.version import __version__

VERSIONS = ("2.1.4", "debian")
NODES = 3
DIST = Path(__file__).resolve().parents[2] / "dist"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # A file says with CONTAINERD_VERSIONS, and with VALUES of the chart, what it is about, if not the usual.
    if "containerd_version" in metafunc.fixturenames:
        offered = getattr(metafunc.module, "CONTAINERD_VERSIONS", VERSIONS)
        wanted = metafunc.config.getoption("--containerd").split(",")
        chosen = [one for one in offered if wanted == ["all"] or one in wanted]
        metafunc.parametrize("containerd_version", chosen, scope="module")


def _not_run(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this, but {reason}")
    pytest.skip(f"not run: {reason}")


@pytest.fixture(scope="module")
def cluster(containerd_version: str) -> Iterator[KubeCluster]:
    """Three nodes, and our image in their registry; nothing of ours runs."""
    archive = DIST / f"spegel-gossip-{__version__}-{ARCHITECTURES[platform.machine()]}.tar"
    reason = missing_for_cluster(containerd_version)
    if reason is None and not archive.exists():
        reason = f"there is no {archive}: scripts/image builds it"
    if reason is not None:
        _not_run(reason)
    with KubeCluster(nodes=NODES, containerd=containerd_version) as cluster:
        cluster.push(read_archive(archive), "spegel-gossip", "dev")
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: KubeCluster, request: pytest.FixtureRequest) -> Release:
    """Our release, ready on all nodes."""
    release = Release(cluster, "registry.lab/spegel-gossip:dev")
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
    cluster.registry.start()
