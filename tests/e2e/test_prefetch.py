"""An operator has nodes pull an image before anything needs it: by the CRI plugin, as the kubelet would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import images
from lab.cluster import Lab
from lab.node import PEER_PORT, PROGRAM, Node
from lab.once import assert_sent_once
from lab.process import Process, wait_until

CONTAINERD_VERSIONS = ("debian", "2.1.4", "2.2.6")
NODES = 4
PREFETCH_TIMEOUT = 90
PRIVATE_PORT = 5001

# A registry that lets nobody in.
PRIVATE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Guard(BaseHTTPRequestHandler):
    def refuse(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_HEAD = refuse
HTTPServer((sys.argv[1], int(sys.argv[2])), Guard).serve_forever()
"""


@pytest.fixture(autouse=True)
def with_cri(lab: Lab) -> None:
    for node in lab.nodes:
        if not node.containerd.has_cri:
            node.containerd.stop()
            node.containerd.has_cri = True
            node.containerd.begin_start()
    for node in lab.nodes:
        node.containerd.wait_ready()
    lab.start_nodes()
    lab.nodes[0].wait_settled()


def prefetch(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    socket = node.directory / "state" / "admin.sock"
    command = [str(PROGRAM), "prefetch", *arguments, "--admin-socket", str(socket)]
    return subprocess.run(
        node.namespace.argv(*command),
        capture_output=True,
        text=True,
        timeout=PREFETCH_TIMEOUT,
        check=False,
    )


def prefetch_json(node: Node, *arguments: str) -> tuple[int, dict[str, Any]]:
    ended = prefetch(node, *arguments, "--json")
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_the_registry_sends_a_prefetched_image_once(lab: Lab) -> None:
    def play(seed: int) -> float:
        image = images.image(seed, [8 * images.MIB] * 3)
        reference = lab.registry.push(image, f"prefetch/app{seed}")
        lab.registry.forget()

        status, answer = prefetch_json(lab.nodes[0], reference)

        assert status == 0, answer
        assert [node["state"] for node in answer["nodes"]] == ["done"] * NODES
        for node in lab.nodes:
            assert node.containerd.wrong_digests(image.digests) == []
            assert reference in node.containerd.images()
        # Where the bytes came from adds up: the registry's share, and the manifest.
        size, sent = sum(blob.size for blob in image.blobs), lab.registry.blob_bytes()
        assert size <= sum(node["upstream"] for node in answer["nodes"]) <= sent + 20_000
        assert sum(node["peers"] for node in answer["nodes"]) >= NODES * size - sent
        return sent / size

    assert_sent_once(play, 1001)


def test_what_is_there_already_is_not_fetched_again_and_only_those_meant_have_it(lab: Lab) -> None:
    image = images.image(1002, [images.MIB])
    reference = lab.registry.push(image, "prefetch/some")
    status, answer = prefetch_json(lab.nodes[1], reference, "--nodes", "2")
    assert status == 0, answer
    chosen = {node["name"] for node in answer["nodes"]}
    assert len(chosen) == 2
    assert {node.name for node in lab.nodes if reference in node.containerd.images()} == chosen
    lab.registry.forget()

    ended = prefetch(lab.nodes[1], reference)

    assert ended.returncode == 0, ended.stderr
    assert lab.registry.blob_bytes() == 0
    assert f"{NODES} of {NODES} nodes have it" in ended.stdout
    assert ended.stderr.count("it was there already") == 2


def test_an_image_that_does_not_exist_fails_by_name_on_every_node(lab: Lab) -> None:
    status, answer = prefetch_json(lab.nodes[0], "registry.lab/prefetch/none:v1")

    assert status == 1
    assert {node["problem"] for node in answer["nodes"]} == {"unknown_image"}
    assert all("registry.lab/prefetch/none:v1" in node["detail"] for node in answer["nodes"])


def test_a_private_image_says_whose_credentials_were_missing(lab: Lab) -> None:
    url = f"http://127.0.0.1:{PRIVATE_PORT}"
    for node in lab.nodes:
        folder = node.hosts / "private.lab"
        folder.mkdir(exist_ok=True)
        table = f'[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
        (folder / "hosts.toml").write_text(f'server = "{url}"\n{table}')
    # On one node only: the others cannot reach it, which is another failure.
    node = lab.nodes[0]
    argv = node.namespace.argv(sys.executable, "-c", PRIVATE, "127.0.0.1", str(PRIVATE_PORT))
    registry = Process(argv, log=Path(lab.directory, "private.log"))
    try:
        wait_until(lambda: refuses(node), what="the private registry", timeout=10, logs=[registry.log])
        ended = prefetch(node, "private.lab/app:v1")
    finally:
        registry.kill()

    assert ended.returncode == 1
    assert f"0 of {NODES} nodes have it" in ended.stdout
    lines = {line.partition(":")[0]: line for line in ended.stderr.splitlines()}
    assert "failed (unauthorised)" in lines["a"]
    assert "failed (failed)" in lines["b"]
    assert "pull secrets of pods are not known" in ended.stderr


def refuses(node: Node) -> bool:
    try:
        return node.namespace.get("127.0.0.1", PRIVATE_PORT, "/v2/")[0] == 401
    except OSError:
        return False


def test_a_containerd_without_the_plugin_is_named_as_that(lab: Lab) -> None:
    node = lab.nodes[3]
    node.containerd.stop()
    node.containerd.has_cri = False
    node.containerd.start()
    reference = lab.registry.push(images.image(1003, [20_000]), "prefetch/plain")

    def answer() -> dict[str, Any]:
        nodes = prefetch_json(lab.nodes[0], reference)[1]["nodes"]
        found: dict[str, Any] = next(one for one in nodes if one["name"] == node.name)
        return found

    wait_until(
        lambda: answer()["problem"] == "unsupported",
        what="the node to say that it cannot",
        timeout=30,
        logs=[node.log],
    )
    assert "CRI plugin" in answer()["detail"]
    node.containerd.stop()


def test_only_members_may_ask_a_node_to_pull(lab: Lab) -> None:
    status, _ = lab.outsider.get(lab.nodes[0].address, PEER_PORT, "/prefetch/pull")

    assert status == 401
