"""Discovery by EndpointSlices with the chart's own token, and an API server that goes in every way it can."""

import random
import signal
from collections.abc import Iterator, Sequence

import pytest
import trio
from kubernetes.client import Configuration

from api_server.control_plane import ControlPlane
from spegel_gossip.discovery.kubernetes import KubernetesSeeds
from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.swim.address import Address

PORT = 29501
NAMESPACE = "live"
SERVICE = "peers"
PATIENCE = 60.0
"""Seconds: the watch's back-off alone may be 38."""


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl("create", "namespace", NAMESPACE)
    return control_plane


def publish(plane: ControlPlane, *addresses: str) -> None:
    plane.kubectl(
        "apply",
        "-f",
        "-",
        document={
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "peers-x",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": SERVICE},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": False}} for address in addresses],
            "ports": [],
        },
    )


@pytest.fixture
def seeds(plane: ControlPlane) -> Iterator[KubernetesSeeds]:
    settings = "discovery.kind=kubernetes,cluster.plaintext=true"
    plane.helm(
        *("upgrade", "--install", "live", "deploy/chart", "--namespace", NAMESPACE),
        *("--no-hooks", "--set", settings),
    )
    token = plane.kubectl("create", "token", "live-spegel-gossip", "-n", NAMESPACE).strip()

    def configure(configuration: Configuration) -> None:
        configuration.host = plane.url
        configuration.ssl_ca_cert = str(plane.authority)
        configuration.api_key = {"authorization": f"Bearer {token}"}

    found = KubernetesSeeds(
        f"{NAMESPACE}/{SERVICE}",
        port=PORT,
        rng=random.Random(1),
        configure=configure,
        first_back_off=0.1,
        watch_length=3.0,
        watch_slack=1.0,
    )
    yield found
    found.close()


async def until(seeds: KubernetesSeeds, *hosts: str) -> None:
    expected = [Address(host, PORT) for host in hosts]
    found: Sequence[Address] = ()
    with trio.fail_after(PATIENCE):
        while list(found) != expected:
            await trio.sleep(0.05)  # a watch in a thread has no event for us
            try:
                found = await seeds.find()
            except DiscoveryError:
                found = ()


@pytest.mark.timeout(300)
async def test_the_api_server_may_hang_and_die_and_come_back(
    plane: ControlPlane, seeds: KubernetesSeeds
) -> None:
    publish(plane, "10.0.0.1", "10.0.0.2")
    await until(seeds, "10.0.0.1", "10.0.0.2")
    publish(plane, "10.0.0.1", "10.0.0.3")
    await until(seeds, "10.0.0.1", "10.0.0.3")

    # It takes connections and says nothing, for longer than any watch lasts.
    plane.process.signal(signal.SIGSTOP)
    try:
        with trio.fail_after(PATIENCE):
            for _ in range(60):
                assert len(await seeds.find()) == 2
                await trio.sleep(0.1)
    finally:
        plane.process.signal(signal.SIGCONT)
    publish(plane, "10.0.0.4")
    await until(seeds, "10.0.0.4")

    plane.stop()
    for _ in range(20):
        assert len(await seeds.find()) == 1
        await trio.sleep(0.1)
    plane.start()
    publish(plane, "10.0.0.5")
    await until(seeds, "10.0.0.5")
