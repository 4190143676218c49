"""The image on real containerds, with the mounts, the rights and the flags of the DaemonSet."""

import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from image.confined import Container, mounted, mounts_of, root_of
from lab import images
from lab.cluster import Lab
from lab.node import Node
from lab.process import run, wait_until
from spegel_gossip.version import __version__

MOST_PACKED = 60_000_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as files:

        def load(name: str) -> Any:  # noqa: ANN401 - whatever JSON is there
            stream = files.extractfile(name)
            assert stream is not None
            return json.load(stream)

        def blob(digest: str) -> str:
            return "blobs/" + digest.replace(":", "/")

        manifest = load(blob(load("index.json")["manifests"][0]["digest"]))
        loaded: dict[str, Any] = load(blob(manifest["config"]["digest"]))
        return loaded


@pytest.fixture(scope="module")
def image(image_lab: Lab, archive: Path) -> str:
    for node in image_lab.nodes:
        node.containerd.ctr("images", "import", *node.containerd.build.locally, str(archive), timeout=120)
    (name,) = image_lab.nodes[0].containerd.images()
    return name


def _argv(config: dict[str, Any], lab: Lab, node: Node) -> list[str]:
    seeds = [f"--seed={other.address}" for other in lab.nodes if other is not node]
    flags = [
        f"--node-name={node.name}",
        f"--advertise-address={node.address}",
        "--cluster-key-file=/etc/spegel-gossip/key",
        "--containerd-address=/run/containerd/containerd.sock",
        "--no-write-hosts",
        "--log-format=console",
    ]
    return [*config["config"]["Entrypoint"], "run", *flags, *seeds]


def _container(lab: Lab, node: Node, image: str, argv: list[str]) -> Container:
    return Container(node, image, argv, mounts_of(node, lab.key))


def _wait_ready(container: Container, node: Node, members: int) -> None:
    wait_until(
        lambda: node.is_ready() and node.metrics().get("spegel_gossip_members", 0) >= members,
        what=f"the container on {node.name} to be ready among {members}",
        timeout=30,
        logs=[container.log],
        still_possible=container.process.is_running,
    )


def test_it_serves_a_pull_as_the_daemon_set_runs_it(
    image_lab: Lab, image: str, config: dict[str, Any]
) -> None:
    a, b = image_lab.nodes
    pulled = images.image(61, [0, 5 * images.MIB])
    reference = image_lab.registry.push(pulled, "team/app", "v1")
    with (
        _container(image_lab, a, image, _argv(config, image_lab, a)) as on_a,
        _container(image_lab, b, image, _argv(config, image_lab, b)) as on_b,
    ):
        for container, node in ((on_a, a), (on_b, b)):
            _wait_ready(container, node, 2)
        a.containerd.pull(reference)
        wait_until(lambda: b.finds(reference, "a"), what="b to find a", timeout=30, logs=[on_b.log])
        image_lab.registry.stop()
        b.containerd.pull(reference)
        assert b.containerd.wrong_digests(pulled.digests) == []
        assert on_a.stop() == 0
    image_lab.registry.start()


def test_every_module_can_be_imported_in_it(image_lab: Lab, image: str, archive: Path) -> None:
    # What was left out of Python and of the dependencies must be missed by nobody.
    node = image_lab.nodes[0]
    code = (
        "import importlib, pkgutil, ssl\n"
        "import kubernetes.client, kubernetes.config, kubernetes.watch, spegel_gossip\n"
        "for one in pkgutil.walk_packages(spegel_gossip.__path__, 'spegel_gossip.'):\n"
        "    importlib.import_module(one.name)\n"
    )
    argv = ["/usr/bin/python3.11", "-I", "-W", "error::ImportWarning", "-c", code]
    with _container(image_lab, node, image, argv) as container:
        assert container.process.wait(60) == 0, container.log.read_text()


def test_it_is_small_runs_as_nobody_and_has_no_shell(
    image_lab: Lab, image: str, archive: Path, config: dict[str, Any]
) -> None:
    assert archive.stat().st_size < MOST_PACKED
    assert config["config"]["User"] == "65532:65532"
    node = image_lab.nodes[0]
    with mounted(node, image, node.directory / "looked-at") as path:
        root = root_of(node) / path.relative_to("/")
        files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        modes = {path: path.stat().st_mode for path in files}
    runnable = {str(path.relative_to(root)) for path, mode in modes.items() if mode & stat.S_IXUSR}
    programs = {one for one in runnable if one.startswith(("usr/bin/", "usr/local/bin/"))}
    assert programs == {"usr/bin/python3.11", "usr/local/bin/spegel-gossip"}
    assert not [path for path, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)]


def test_the_bill_of_materials_names_what_is_inside(archive: Path) -> None:
    document = json.loads(run("sh", str(ROOT / "scripts" / "sbom"), str(archive)))

    assert document["bomFormat"] == "CycloneDX"
    listed = {one["name"]: one for one in document["components"]}
    assert listed["spegel-gossip"]["version"] == __version__
    assert listed["spegel-gossip"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert listed["trio"]["purl"].startswith("pkg:pypi/trio@")
    assert listed["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert "aiohttp" not in listed
    references = [one["bom-ref"] for one in document["components"]]
    assert len(references) == len(set(references))
