"""The hosts.toml that a node writes leads its containerd to it, and to upstream when it is gone."""

from lab import images
from lab.cluster import Lab
from lab.node import Node


def test_a_node_that_writes_its_hosts_files_is_asked_first_and_never_missed(lab: Lab) -> None:
    a, b = lab.nodes[:2]
    image = images.image(81, [0, 200_000])
    lab.registry.push(image, "team/default", "v1")
    # Of a registry that has no folder of its own; upstream is where the name says, by plain HTTP.
    reference = f"{lab.registry.url.removeprefix('http://')}/team/default:v1"

    def pull(node: Node) -> None:
        node.containerd.pull(reference, arguments=["--plain-http"], hosts=node.directory / "own-certs.d")

    for node, other in ((a, b), (b, a)):
        certs = node.directory / "own-certs.d"
        certs.mkdir()
        node.start("--write-hosts", f"--hosts-dir={certs}", seeds=[other.address])
    for node in (a, b):
        node.wait_ready()
        node.wait_members("a", "b")
        assert (node.directory / "own-certs.d" / "_default" / "hosts.toml").is_file()
    pull(a)
    b.wait_holders(reference, "a")
    lab.registry.stop()
    pull(b)
    assert b.containerd.wrong_digests(image.digests) == []

    lab.registry.start()
    for node in (a, b):
        node.kill()
    b.containerd.remove(reference)
    pull(b)
    assert b.containerd.wrong_digests(image.digests) == []
