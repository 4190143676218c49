"""The real programs of a benchmark, on loopback: our node with its containerd, and nginx."""

from __future__ import annotations

import base64
import os
import random
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.client import Connection, get_json
from lab.containerd import Containerd, containerd_build
from lab.network import Namespace
from lab.node import PROGRAM
from lab.process import Process, wait_until

START_TIMEOUT = 30.0
FILL_STEP = 4 << 20
INGEST_ATTEMPTS = 5
HOST = "127.0.0.1"


class Here(Namespace):
    """The machine's own network namespace: nothing to set up, and nothing in front of a command."""

    def __init__(self) -> None:
        self.name = "here"
        self.address = HOST

    def argv(self, *argv: str) -> list[str]:
        """The command as it is."""
        return list(argv)


def free_port() -> int:
    """A port that nobody listens on now, TCP or UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind((HOST, port))
            except OSError:
                continue
            return port


class Node:
    """One of our nodes; its containerd runs only where it must hold something."""

    def __init__(self, name: str, directory: Path, stack: ExitStack, *, has_containerd: bool) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir()
        self.registry, self.peers, self.status = free_port(), free_port(), free_port()
        self.log = self.directory / "node.log"
        self._stack = stack
        hosts = self.directory / "certs.d"
        hosts.mkdir()
        self._hosts = hosts
        self.containerd = Containerd(containerd_build("debian"), Here(), self.directory, hosts)
        if has_containerd:
            self.containerd.start()
            stack.callback(self.containerd.kill)
        else:
            self.containerd.socket.parent.mkdir(parents=True)
            self.containerd.root.mkdir(parents=True)
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """Our running process."""
        if self._process is None:
            raise RuntimeError(f"node {self.name} was not started")
        return self._process

    def start(self, key: Path, seeds: Sequence[Node], *arguments: str) -> None:
        """Start our process without waiting for it."""
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        flags = [
            f"--node-name={self.name}",
            f"--advertise-address={HOST}",
            f"--registry-listen={HOST}:{self.registry}",
            f"--peer-listen={HOST}:{self.peers}",
            f"--status-listen={HOST}:{self.status}",
            f"--state-dir={state}",
            f"--cluster-key-file={key}",
            f"--containerd-address={self.containerd.socket}",
            f"--containerd-root={self.containerd.root}",
            f"--hosts-dir={self._hosts}",
            "--no-write-hosts",
            *(f"--seed={HOST}:{seed.peers}" for seed in seeds),
            *arguments,
        ]
        self._process = process = Process([str(PROGRAM), "run", *flags], log=self.log)
        self._stack.callback(process.kill)

    def wait_members(self, count: int) -> None:
        """Wait until it sees as many members alive."""
        wait_until(
            lambda: self.alive() == count,
            what=f"node {self.name} to see {count} members",
            timeout=START_TIMEOUT,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def wait_holder(self, digest: str, holder: str) -> None:
        """Wait until it finds who holds a digest."""

        def found() -> bool:
            shape = get_json(HOST, self.status, f"/api/holders.json?key={digest}")
            return holder in [one["name"] for one in shape.get("holders", [])]

        wait_until(found, what=f"{holder} as holder of {digest}", timeout=START_TIMEOUT, logs=[self.log])

    def alive(self) -> int:
        """How many members it counts as alive; 0 while it does not answer."""
        try:
            return int(get_json(HOST, self.status, "/api/status.json")["members"]["alive"])
        except (OSError, KeyError, ValueError):
            return 0

    def metrics(self) -> str:
        """All metrics as text."""
        with Connection(HOST, self.status) as connection:
            return connection.get("/metrics").body.decode()

    def ingest(self, path: Path, digest: str) -> Path:
        """Put a file into its containerd and return where it is on disk there."""
        ctr = [
            str(self.containerd.build.ctr),
            "--address",
            str(self.containerd.socket),
            "-n",
            "k8s.io",
            "content",
        ]
        for attempt in range(INGEST_ATTEMPTS):
            with path.open("rb") as content:
                subprocess.run(
                    [*ctr, "ingest", "--expected-digest", digest, f"layer-{digest}"],
                    stdin=content,
                    check=True,
                    capture_output=True,
                )
            # containerd collects after every hundred changes, and until it is labelled this is nobody's.
            labelled = subprocess.run(
                [*ctr, "label", digest, "containerd.io/gc.root=1"],
                check=attempt + 1 == INGEST_ATTEMPTS,
                capture_output=True,
            )
            if labelled.returncode == 0:
                break
        return self.containerd.blob_path(digest)


class Nginx:
    """An nginx of one worker; `text` is what goes into its http block."""

    def __init__(self, name: str, directory: Path, stack: ExitStack, text: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self._log = self.directory / "log"
        config = self.directory / "nginx.conf"
        temporary = "\n".join(
            f"{kind}_temp_path {self.directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"user root; worker_processes 1; daemon off; pid {self.directory}/pid;\n"
            f"error_log {self._log} warn; events {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n{text} }}\n"
        )
        # Debian's own prefix would write to /var/log before it reads the file.
        argv = ["nginx", "-e", str(self._log), "-p", str(self.directory), "-c", str(config)]
        self._process = Process(argv, log=self._log)
        # SIGTERM takes the worker along.
        stack.callback(self._process.stop)

    def wait_listening(self, port: int) -> None:
        """Wait until it accepts connections."""

        def answers() -> bool:
            try:
                with Connection(HOST, port):
                    return True
            except OSError:
                return False

        wait_until(
            answers,
            what="nginx",
            timeout=START_TIMEOUT,
            logs=[self._log],
            still_possible=self._process.is_running,
        )

    def cpu_seconds(self) -> float:
        """Time of the master and its worker so far."""
        pids = [self._process.pid, *_children(self._process.pid)]
        return sum(cpu_seconds(pid) for pid in pids)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_blob(path: Path, size: int, seed: int) -> str:
    """Write a file of which no two pieces are the same, and return its digest."""
    piece = random.Random(seed).randbytes(FILL_STEP)
    with path.open("wb") as file:
        for number in range(-(-size // FILL_STEP)):
            left = size - number * FILL_STEP
            file.write((number.to_bytes(8, "big") + piece[8:])[:left])
    digest = subprocess.run(["sha256sum", str(path)], check=True, capture_output=True, text=True).stdout
    return f"sha256:{digest.split()[0]}"


def write_key(directory: Path) -> Path:
    """A new cluster key's file."""
    key = directory / "key"
    key.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    key.chmod(0o600)
    return key


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
