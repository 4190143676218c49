"""The way from Spegel, as docs/installation.md has it, on nodes whose certs.d Spegel has taken over."""

from pathlib import Path

from kube.release import IMAGE, Release
from kube.spegel import BACKUP, Spegel
from kubelab.archives import program_image
from kubelab.cluster import KubeCluster
from kubelab.node import KubeNode
from kubelab.programs import program
from kubelab.settings import CERTS_DIRECTORY
from lab.images import MIB
from lab.node import MIRROR_PORT
from lab.process import wait_until
from lab.registry import HOST

CONTAINERD_VERSIONS = ("debian",)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "installation.md"
OURS = f"http://127.0.0.1:{MIRROR_PORT}"
RECHECKED_TIMEOUT = 90.0
"""A minute, which the node takes to look at the files again, and slack."""


def registry_file(node: KubeNode) -> str:
    return node.hosts_files().get(f"{HOST}/hosts.toml", b"").decode()


def has_spegel(node: KubeNode) -> bool:
    return "dial_timeout = '200ms'" in registry_file(node)


def wait_ours(nodes: list[KubeNode]) -> None:
    wait_until(
        lambda: all(OURS in registry_file(node) for node in nodes),
        what="our mirror to be in the hosts files again",
        timeout=RECHECKED_TIMEOUT,
    )


def without_its_hook() -> str:
    """What the documentation says to do on a node whose Spegel went without its hook."""
    commands = DOCS.read_text().partition("went without its hook")[2]
    return commands.partition("```sh\n")[2].partition("```")[0]


def test_pulls_work_at_every_step_from_spegel_to_us_and_nothing_of_either_is_left_in_the_end(
    cluster: KubeCluster,
) -> None:
    release = Release(cluster, IMAGE)
    release.remember_hosts()
    spegels = {node.name: Spegel(node) for node in cluster.nodes}
    for spegel in spegels.values():
        spegel.start()
    images = [program_image(program("pause"), layers={40 + one: MIB}) for one in range(3)]
    references = [cluster.push(image, f"team/step-{step}", "v1") for step, image in enumerate(images)]
    first, *others = cluster.nodes

    def pull_everywhere(reference: str) -> None:
        # The first by Spegel's file and ours from the registry, the others from it.
        cluster.registry.start()
        first.pull(reference)
        for node in others:
            release.wait_holder(node, reference, first.name)
        cluster.registry.stop()
        for node in others:
            node.pull(reference)
        cluster.registry.start()

    # 1: side by side, we before it.
    release.install()
    for node in cluster.nodes:
        text = registry_file(node)
        assert has_spegel(node)
        assert text.index(OURS) < text.index("dial_timeout = '200ms'")
        assert "uninstall Spegel" in " ".join(release.command(node, "hosts", "show").split())
    pull_everywhere(references[0])

    # 2: a pod of Spegel starts again on one node; on the others it goes, with its hook. Either is the
    # end of what we wrote there, though we may be back before anybody looks.
    assert not any(OURS in spegel.found() for spegel in spegels.values())
    spegels[first.name].start()
    for node in others:
        spegels[node.name].uninstall()
    wait_ours(cluster.nodes)
    assert [node.name for node in cluster.nodes if has_spegel(node)] == [first.name]
    pull_everywhere(references[1])

    # 3: on the one node it has gone without its hook.
    first.machine.run("sh", "-ec", without_its_hook())
    release.command(first, "hosts", "write")
    wait_ours([first])
    for node in cluster.nodes:
        assert not has_spegel(node)
        assert not node.machine.path(CERTS_DIRECTORY / BACKUP).exists()
        assert "Spegel" not in release.command(node, "hosts", "show")
    pull_everywhere(references[2])

    release.uninstall()
    assert release.changed_nodes() == []
