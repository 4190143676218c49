"""SIGTERM in the middle of a transfer: what was begun is finished, nothing new is. No containerd, no root."""

import hashlib
import http.client
import json
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from lab.loopback import free_ports
from lab.process import Process, wait_until

PROGRAM = [sys.executable, "-c", "from spegel_gossip.cli.main import main; main()"]
HOST = "127.0.0.1"
PATIENCE = 30.0
SIZE = 64 << 20
"""Far more than all the socket buffers on the way hold."""


class Node:
    """One of our nodes with a layout of its own, in plaintext."""

    def __init__(self, name: str, directory: Path, stack: ExitStack, *seeds: "Node") -> None:
        self.name = name
        self.registry, self.peers, self.status = free_ports(3)
        self.layout = directory / f"{name}-layout"
        self.log = directory / f"{name}.log"
        flags = [
            f"--node-name={name}",
            f"--advertise-address={HOST}",
            f"--registry-listen={HOST}:{self.registry}",
            f"--peer-listen={HOST}:{self.peers}",
            f"--status-listen={HOST}:{self.status}",
            f"--state-dir={directory / f'{name}-state'}",
            "--store=layout",
            f"--layout-root={self.layout}",
            "--plaintext",
            "--no-write-hosts",
            *(f"--seed={HOST}:{seed.peers}" for seed in seeds),
        ]
        (directory / f"{name}-state").mkdir()
        self.process = Process([*PROGRAM, "run", *flags], log=self.log)
        stack.callback(self.process.kill)

    def status_of(self, port: int, path: str) -> tuple[int, bytes]:
        """Status and body; 0 where nobody answers."""
        with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError:
                return 0, b""

    def wait_ready(self) -> None:
        """Wait until it says so."""
        wait_until(
            lambda: self.status_of(self.registry, "/readyz")[0] == 200,
            what=f"{self.name} to be ready",
            timeout=PATIENCE,
            logs=[self.log],
            still_possible=self.process.is_running,
        )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def make_layout(root: Path, blob: bytes) -> str:
    digest = hashlib.sha256(blob).hexdigest()
    folder = root / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / digest).write_bytes(blob)
    (folder / digest).chmod(0o444)
    (root / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": []}))
    return f"sha256:{digest}"


def refuses(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # closed in the moment in which it was taken
    return False


@pytest.mark.parametrize("hops", [1, 2])
def test_a_node_told_to_stop_finishes_what_it_sends_and_takes_nothing_new(
    hops: int, stack: ExitStack, tmp_path: Path
) -> None:
    blob = random.Random(8).randbytes(SIZE)
    digest = make_layout(tmp_path / "holder-layout", blob)
    holder = Node("holder", tmp_path, stack)
    holder.wait_ready()
    mirror = holder
    if hops == 2:
        make_layout(tmp_path / "mirror-layout", b"something else")
        mirror = Node("mirror", tmp_path, stack, holder)
        mirror.wait_ready()
        wait_until(
            lambda: b'"holder"' in mirror.status_of(mirror.status, f"/api/holders.json?key={digest}")[1],
            what="the holder to be known",
            timeout=PATIENCE,
            logs=[holder.log, mirror.log],
        )
    connection = stack.enter_context(closing(http.client.HTTPConnection(HOST, mirror.registry)))
    connection.request("GET", f"/v2/team/app/blobs/{digest}")
    answer = connection.getresponse()
    received = answer.read(1 << 20)

    holder.process.signal(signal.SIGTERM)
    for port in (holder.registry, holder.peers):
        wait_until(partial(refuses, port), what="no new connection", timeout=PATIENCE, logs=[holder.log])
    is_running = holder.process.is_running()
    received += answer.read()

    assert is_running  # it waits for the client, which had not read
    assert (len(received), received == blob) == (SIZE, True)
    wait_until(lambda: not holder.process.is_running(), what="its end", timeout=PATIENCE, logs=[holder.log])
    assert holder.process.wait() == 0
