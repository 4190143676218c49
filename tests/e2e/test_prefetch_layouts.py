"""Prefetching into image layouts: real nodes and a real registry as processes on loopback, without root."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab import images
from lab.loopback import LoopbackRegistry, free_ports
from lab.node import PROGRAM
from lab.once import assert_sent_once
from lab.process import Process, run, wait_until

pytestmark = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry")

NAMES = ("a", "b", "c")
PATIENCE = 60.0
HTPASSWD_ANN = "ann:$2b$05$M77zg5rlBpgELUDnBcET4eRmDEVOqBv/G5gLTX3D8lrH63s9114/2"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("SPEGEL_GOSSIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: pytest's own paths are too long for a socket in them.
    with tempfile.TemporaryDirectory(prefix="layouts-") as name:
        yield Path(name)


@pytest.fixture
def cluster(folder: Path) -> Iterator[Path]:
    run(str(PROGRAM), "keyring", "new", "--output", str(folder / "key"))
    seed, *others = free_ports(3 * len(NAMES))
    with ExitStack() as stack:
        for name in NAMES:
            (folder / name).mkdir()
            peers = seed if name == NAMES[0] else others.pop()
            command = [str(PROGRAM), "run", "--node-name", name, "--store", "layout", "--no-write-hosts"]
            command += ["--cluster-key-file", str(folder / "key"), "--state-dir", str(folder / name)]
            command += ["--advertise-address", "127.0.0.1", "--peer-listen", f"127.0.0.1:{peers}"]
            command += ["--registry-listen", f"127.0.0.1:{others.pop()}", "--seed", f"127.0.0.1:{seed}"]
            command += ["--status-listen", f"127.0.0.1:{others.pop()}"]
            process = Process(command, log=folder / f"{name}.log")
            stack.callback(process.kill)
        wait_until(
            lambda: all(knows_all(folder / name) for name in NAMES),
            what="the nodes to know each other",
            timeout=PATIENCE,
            logs=[folder / f"{name}.log" for name in NAMES],
        )
        yield folder


def ask(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *arguments, "--state-dir", str(state), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def knows_all(state: Path) -> bool:
    answered = ask(state, "members")
    if answered.returncode != 0:
        return False
    return [member["state"] for member in json.loads(answered.stdout)["members"]] == ["alive"] * len(NAMES)


def prefetch(state: Path, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    answered = ask(state, "prefetch", *arguments)
    assert answered.stdout, answered.stderr
    return answered.returncode, {node["name"]: node for node in json.loads(answered.stdout)["nodes"]}


def test_every_layout_has_the_image_and_the_registry_sent_it_once(cluster: Path, tmp_path: Path) -> None:
    def play(seed: int) -> float:
        image = images.image(seed, [3 * images.MIB] * 2)
        reference = registry.push(image, f"team/app{seed}", "v1")
        before = sum(one.size for one in registry.requests() if one.is_blob)

        status, nodes = prefetch(cluster / "b", reference)

        size = sum(blob.size for blob in image.blobs)
        sent = sum(one.size for one in registry.requests() if one.is_blob) - before
        assert status == 0, nodes
        assert {name: node["state"] for name, node in nodes.items()} == dict.fromkeys(NAMES, "done")
        for name in NAMES:
            held = {path.name for path in (cluster / name / "layout" / "blobs" / "sha256").iterdir()}
            assert {digest.removeprefix("sha256:") for digest in image.digests} <= held
        assert size <= sent
        assert sum(node["peers"] for node in nodes.values()) >= len(NAMES) * size - sent
        return sent / size

    with LoopbackRegistry(tmp_path) as registry:
        assert_sent_once(play, 1101)


def test_a_private_registry_is_named_as_that_by_every_node(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD_ANN + "\n")
    more = f"auth: {{htpasswd: {{realm: lab, path: {tmp_path / 'htpasswd'}}}}}"
    with LoopbackRegistry(tmp_path, more=more) as registry:
        status, nodes = prefetch(cluster / "a", f"{registry.host}/team/private:v1")

    assert status == 1
    assert {node["problem"] for node in nodes.values()} == {"unauthorised"}
    assert all(registry.host in node["detail"] for node in nodes.values())
