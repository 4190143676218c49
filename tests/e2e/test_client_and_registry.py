"""The client against docker-registry, and with skopeo in both directions; no root, no namespace."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import images
from lab.loopback import LoopbackRegistry, free_port
from lab.process import Process, run, tail, wait_until

PROGRAM = [sys.executable, "-c", "from spegel_gossip.cli.main import main; main()"]
PATIENCE = 60.0

pytestmark = pytest.mark.skipif(
    shutil.which("docker-registry") is None or shutil.which("skopeo") is None,
    reason="needs docker-registry and skopeo",
)

IMAGE = images.image(41, [0, 300_000, 5_000_000])
INDEX = images.index(42)
HTPASSWD_ANN = "ann:$2b$05$M77zg5rlBpgELUDnBcET4eRmDEVOqBv/G5gLTX3D8lrH63s9114/2"
"""The password is `secret` (bcrypt, its cheapest cost)."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("SPEGEL_GOSSIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry(tmp_path) as registry:
        yield registry


def ours(*arguments: str | Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def blobs_of(layout: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").iterdir()}


def test_what_is_pulled_and_pushed_is_what_was_there(registry: LoopbackRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "images"
    reference = registry.push(IMAGE, "team/app", "v1")

    pulled = json.loads(ours("pull", reference, "--layout", layout, "--json").stdout)
    pushed = json.loads(ours("push", layout, f"{registry.host}/other/app:v2", "--json").stdout)
    again = json.loads(ours("push", layout, f"{registry.host}/other/app:v2", "--json").stdout)

    total = sum(blob.size for blob in (*IMAGE.manifests, *IMAGE.blobs))
    assert pulled["digest"] == pushed["digest"] == IMAGE.root.digest
    assert (pulled["bytes"], pulled["sources"]) == (total, {registry.host: total})
    assert blobs_of(layout) == IMAGE.digests
    # The registry has the blobs in another repository: it is told so, and nothing is sent.
    assert {blob["outcome"] for blob in pushed["blobs"] if blob["role"] != "manifest"} == {"mounted"}
    assert again["bytes"] == 0


def test_a_push_to_an_empty_registry_sends_everything(registry: LoopbackRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "images"
    ours("pull", registry.push(INDEX, "team/app", "v1"), "--all-platforms", "--layout", layout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    with LoopbackRegistry(elsewhere) as other:
        ours("push", layout, f"{other.host}/team/copy:v1")
        raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{other.host}/team/copy:v1")

    assert raw.encode() == b"".join(INDEX.root.chunks())


def test_skopeo_reads_our_layout(registry: LoopbackRegistry, tmp_path: Path) -> None:
    layout, copy = tmp_path / "images", tmp_path / "copy"
    reference = registry.push(IMAGE, "team/app", "v1")
    ours("pull", reference, "--layout", layout)

    run("skopeo", "copy", "--preserve-digests", f"oci:{layout}:{reference}", f"dir:{copy}")

    assert (copy / "manifest.json").read_bytes() == b"".join(IMAGE.root.chunks())


def test_we_read_skopeos_layout(registry: LoopbackRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "skopeo"
    reference = registry.push(INDEX, "team/app", "v1")
    source = f"docker://{reference}"
    run("skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{layout}:v1")

    ours("push", layout, f"{registry.host}/from/skopeo:v1")

    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/from/skopeo:v1")
    assert raw.encode() == b"".join(INDEX.root.chunks())


@pytest.mark.parametrize("name", ["team/app:v1", "{registry}/team/app:v1"])
def test_what_we_serve_skopeo_and_we_can_pull(registry: LoopbackRegistry, tmp_path: Path, name: str) -> None:
    layout = tmp_path / "images"
    # A layout of images from two registries, of which one is asked for without its name.
    ours("pull", registry.push(INDEX, "team/app", "v1"), "--all-platforms", "--layout", layout)
    ours("pull", registry.push(IMAGE, "team/other", "v1"), "--layout", layout)
    port = free_port()
    log = tmp_path / "serve.log"
    server = Process([*PROGRAM, "serve", str(layout), "--listen", f"127.0.0.1:{port}"], log=log)
    try:
        wait_until(lambda: "followed" in tail(log), what="serve to begin", timeout=PATIENCE, logs=[log])
        target = f"docker://127.0.0.1:{port}/team/app:v1"
        run(
            "skopeo",
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--preserve-digests",
            target,
            f"dir:{tmp_path / 'c'}",
        )
        mirrored = name.format(registry=registry.host)
        ours("pull", mirrored, "--mirror", f"http://127.0.0.1:{port}", "--layout", tmp_path / "second")
        pushed = ours("push", layout, f"127.0.0.1:{port}/team/app:v1", "--image", INDEX.root.digest)
        assert "already there" in pushed.stdout
    finally:
        assert server.stop() == 0
    assert (tmp_path / "c" / "manifest.json").read_bytes() == b"".join(INDEX.root.chunks())
    assert INDEX.root.digest in blobs_of(tmp_path / "second")


def test_a_login_opens_a_registry_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(HTPASSWD_ANN + "\n")
    auth = f"auth: {{htpasswd: {{realm: lab, path: '{users}'}}}}"
    layout = tmp_path / "skopeo"
    with LoopbackRegistry(tmp_path) as open_registry:
        ours("pull", open_registry.push(IMAGE, "team/app", "v1"), "--layout", layout)
    closed = tmp_path / "closed"
    closed.mkdir()
    with LoopbackRegistry(closed, more=auth) as registry:
        reference = f"{registry.host}/team/app:v1"
        login = ("--username", "ann", "--password-stdin")
        image = ("--image", IMAGE.root.digest)

        assert "login" in ours("push", layout, reference, *image, code=1).stderr
        assert "ann" in ours("push", layout, reference, *image, *login, stdin="wrong\n", code=1).stderr
        ours("push", layout, reference, *image, *login, stdin="secret\n")
        (tmp_path / "docker").mkdir()
        entry = {"auths": {registry.host: {"username": "ann", "password": "secret"}}}
        (tmp_path / "docker" / "config.json").write_text(json.dumps(entry))
        pulled = ours("pull", reference, "--quiet", "--layout", tmp_path / "second")

    assert pulled.stdout == f"{registry.host}/team/app@{IMAGE.root.digest}\n"
    assert pulled.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_pull_says_so_and_is_gone_on_with(
    registry: LoopbackRegistry, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    layout, log = tmp_path / "images", tmp_path / "pull.log"
    reference = registry.push(images.image(43, [400_000_000]), "team/large", "v1")
    layer = images.image(43, [400_000_000]).blobs[-1].digest
    pull = Process([*PROGRAM, "pull", reference, "--layout", str(layout)], log=log)
    wait_until(
        lambda: any(path.stat().st_size > 20_000_000 for path in layout.glob("ingest/*/data")),
        what="the layer to arrive in part",
        timeout=PATIENCE,
        logs=[log],
        still_possible=pull.is_running,
    )

    pull.signal(number)

    assert pull.wait() == code
    assert "the same command goes on from there" in log.read_text()
    assert layer not in blobs_of(layout)
    resumed = json.loads(ours("pull", reference, "--layout", layout, "--json").stdout)
    (one,) = [blob for blob in resumed["blobs"] if blob["digest"] == layer]
    assert one["resumed_at"] >= 20_000_000
    assert one["resumed_at"] + one["bytes"] == 400_000_000


def test_two_pulls_of_one_image_share_the_work(registry: LoopbackRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "images"
    reference = registry.push(images.image(44, [50_000_000, 50_000_000]), "team/shared", "v1")
    pulls = [
        Process([*PROGRAM, "pull", reference, "--layout", str(layout)], log=tmp_path / f"{number}.log")
        for number in range(2)
    ]

    assert [pull.wait(timeout=PATIENCE) for pull in pulls] == [0, 0]

    moved = [one.size for one in registry.requests() if one.is_blob and one.agent.startswith("spegel")]
    assert sum(moved) < 101_000_000


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pull", "Team/App"), 2, "not an image reference"),
        (("pull", "a", "--mirror", "nonsense"), 2, "--mirror"),
        (("pull", "a", "--platform", "linux"), 2, "--platform"),
        (("pull", "a", "--platform", "linux/amd64", "--all-platforms"), 2, "--all-platforms"),
        (("pull", "a", "--password-stdin"), 2, "--username"),
        (("pull", "a", "--username", "ann"), 2, "--password-stdin"),
        (("pull", "a", "--auth-file", "/missing"), 2, "--auth-file"),
        (("pull", "localhost:1/a"), 1, "cannot connect"),
        (("push", "/missing", "localhost:1/a"), 1, "OCI image layout"),
        (("serve", "/missing"), 1, "OCI image layout"),
        (("serve", "/missing", "--listen", "here"), 2, "--listen"),
    ],
)
def test_a_failure_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    started_at = time.monotonic()
    more = ("--layout", tmp_path / "images") if arguments[0] == "pull" else ()

    done = ours(*arguments, *more, code=code)

    last = done.stderr.splitlines()[-1]
    assert last.startswith("spegel-gossip: ")
    assert words in last
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started_at < 30
