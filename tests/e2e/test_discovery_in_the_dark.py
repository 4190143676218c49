"""Discovery by DNS and by EndpointSlices while neither answers, as on Talos with Cilium's policy in the way.

Packets to both go nowhere here, as if a policy dropped them: nothing is refused, everything times out.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lab import images
from lab.cluster import Lab
from lab.network import API_SERVER_ADDRESS
from lab.node import CONVERGED_TIMEOUT, PROGRAM, READY_TIMEOUT, Node
from lab.process import Process, wait_until

# A pod's token and what belongs to it, in a place that only this process sees.
AS_IN_A_POD = """
directory=/run/secrets/kubernetes.io/serviceaccount
mount -t tmpfs tmpfs /run && mkdir -p $directory && cp "$1" $directory/ca.crt && shift &&
printf token >$directory/token && printf images >$directory/namespace && exec "$@"
"""
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@contextmanager
def running(node: Node, *arguments: str) -> Iterator[Process]:
    (node.directory / "state").mkdir(mode=0o700, exist_ok=True)
    flags = [*node.arguments(), "--plaintext", *arguments]
    program = ["unshare", "--mount", "sh", "-c", AS_IN_A_POD, "sh", AUTHORITIES, str(PROGRAM), "run", *flags]
    environment = {"KUBERNETES_SERVICE_HOST": API_SERVER_ADDRESS, "KUBERNETES_SERVICE_PORT": "443"}
    process = Process(node.namespace.argv(*program), log=node.log, environment=environment)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def dark_lab(shared_lab: Lab) -> Iterator[Lab]:
    shared_lab.reset()
    yield shared_lab
    shared_lab.end_nodes()


def test_nodes_are_ready_and_pull_from_each_other_while_dns_and_the_api_server_are_black_holed(
    dark_lab: Lab,
) -> None:
    lab = dark_lab
    a, b = lab.nodes[:2]
    image = images.image(70, [0, 300_000])
    reference = lab.registry.push(image, "team/dark", "v1")
    names = ("--kubernetes-service=images/peers", "--seed-dns=peers.images.svc.cluster.local.")
    with ExitStack() as stack:
        for node, other in ((a, b), (b, a)):
            process = stack.enter_context(running(node, *names, f"--seed={other.address}"))
            wait_until(
                node.is_ready,
                what=f"node {node.name} to be ready",
                timeout=READY_TIMEOUT,
                logs=[node.log],
                still_possible=process.is_running,
            )
        for node in (a, b):
            wait_until(
                lambda node=node: node.live_members() == ["a", "b"],  # type: ignore[misc] # bound on purpose
                what=f"node {node.name} to see both",
                timeout=CONVERGED_TIMEOUT,
                logs=[node.log],
            )
        a.containerd.pull(reference)
        wait_until(
            lambda: b.finds(reference, "a"),
            what="node b to find node a",
            timeout=CONVERGED_TIMEOUT,
            logs=[b.log],
        )
        lab.registry.stop()

        b.containerd.pull(reference)

        assert b.containerd.wrong_digests(image.digests) == []
        # Both were asked: it is not that nobody tried.
        assert lab.network.packets_to_api_server() > 0
        assert a.metrics()["spegel_gossip_discovery_failures_total"] > 0
