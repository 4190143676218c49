"""One node: a namespace, its containerd, and our process with its files."""

import http.client
import json
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from lab.containerd import Containerd
from lab.network import API_SERVER_ADDRESS, Namespace
from lab.process import Process, run, tail, wait_until

MIRROR_PORT = 29500
PEER_PORT = 29501
STATUS_PORT = 29502

READY_TIMEOUT = 60.0
CONVERGED_TIMEOUT = 30.0
EXPLAINED_TIMEOUT = 15.0
ADMIN_TIMEOUT = 10.0

SOME_KEY = f"sha256:{0:064x}"
"""Up to three nodes own every key, so any will do to ask about its owners."""

PROGRAM = Path(sys.executable).with_name("spegel-gossip")
"""The installed console script beside the interpreter that runs the tests."""

# What a pod in a cluster finds in its environment; the address is a black hole here.
_ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": API_SERVER_ADDRESS, "KUBERNETES_SERVICE_PORT": "443"}

# A container's root has no right to pass permissions by; with it, a socket of mode 0 would be no obstacle.
_AS_IN_A_CONTAINER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


class Node:
    """One node of the lab; `start`, `stop`, `kill` and `cli` are about our process, not its containerd."""

    def __init__(
        self, name: str, namespace: Namespace, containerd: Containerd, directory: Path, hosts: Path, key: Path
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.containerd = containerd
        self.directory = directory
        self.hosts = hosts
        self.log = directory / "node.log"
        self.seeds: list[str] = []
        self._key = key
        self._admin_socket = directory / "state" / "admin.sock"
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """Its address on the lab's network."""
        return self.namespace.address

    @property
    def process(self) -> Process:
        """Our running process."""
        if self._process is None:
            raise RuntimeError(f"node {self.name} was not started")
        return self._process

    def arguments(self) -> list[str]:
        """The flags that `start` gives to `run`, before any of its own."""
        return [
            f"--node-name={self.name}",
            f"--advertise-address={self.address}",
            f"--state-dir={self.directory / 'state'}",
            f"--admin-socket={self._admin_socket}",
            f"--containerd-address={self.containerd.socket}",
            f"--containerd-root={self.containerd.root}",
            f"--hosts-dir={self.hosts}",
            "--no-write-hosts",
            "--log-level=debug",
            "--log-format=console",
            *(f"--seed={seed}" for seed in self.seeds),
        ]

    def start(
        self,
        *arguments: str,
        seeds: Sequence[str] | None = None,
        with_key: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start our process and do not wait for it.

        Args:
            arguments: further flags of `run`; of a flag given twice the last counts
            seeds: remembered for later starts; by default the last ones
            with_key: whether it gets the cluster's key
        """
        if self._process is not None and self._process.is_running():
            raise RuntimeError(f"node {self.name} runs already")
        if seeds is not None:
            self.seeds = list(seeds)
        (self.directory / "state").mkdir(mode=0o700, exist_ok=True)
        key = [f"--cluster-key-file={self._key}"] if with_key else []
        flags = [*self.arguments(), *key, *arguments]
        argv = self.namespace.argv(*_AS_IN_A_CONTAINER, str(PROGRAM), "run", *flags)
        self._process = Process(argv, log=self.log, environment={**_ENVIRONMENT, **(environment or {})})

    def stop(self) -> int:
        """SIGTERM, as a rolling update does; returns the exit status."""
        return self._ended(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, as a power cut does."""
        return self._ended(signal.SIGKILL)

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self.kill()

    def restart(self) -> None:
        """Stop it, start it again with the same flags and seeds, and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_ready()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /readyz; (0, {}) when nobody answers."""
        try:
            status, body = self.namespace.get("127.0.0.1", STATUS_PORT, "/readyz", timeout=2.0)
        except OSError:
            return 0, {}
        return status, json.loads(body)

    def is_ready(self) -> bool:
        """Whether /readyz says 200."""
        return self.readiness()[0] == 200

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> float:
        """Wait until /readyz says 200 and return how many seconds that took."""
        return wait_until(
            self.is_ready,
            what=f"node {self.name} to be ready",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def wait_explained(self, words: str, timeout: float = EXPLAINED_TIMEOUT) -> None:
        """Wait until /readyz has these words somewhere in its body, in small or capital letters."""
        wait_until(
            lambda: words.lower() in json.dumps(self.readiness()[1]).lower(),
            what=f"node {self.name} to say {words!r} in /readyz",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def cli(self, *arguments: str) -> str:
        """Run a command of our CLI on this node and return what it printed."""
        environment = f"SPEGEL_GOSSIP_ADMIN_SOCKET={self._admin_socket}"
        return run(*self.namespace.argv("env", environment, str(PROGRAM), *arguments))

    def cli_json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON the command prints
        """Run an inspecting command with `--json` and return the document."""
        return json.loads(self.cli(*arguments, "--json"))

    def mirror(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET that containerd might send to its mirror here."""
        return self.namespace.get("127.0.0.1", MIRROR_PORT, path)

    def admin(self, path: str, **query: str) -> Any:  # noqa: ANN401 - whatever JSON is there
        """Ask the admin socket itself, which spares the start of a CLI; OSError when nobody answers."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(ADMIN_TIMEOUT)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = link
        with closing(connection):
            link.connect(str(self._admin_socket))
            connection.request("GET", f"{path}?{urlencode(query)}" if query else path)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        if answer.status != http.client.OK:
            raise LookupError(f"{path} answered {answer.status}: {document}")
        return document

    def member_states(self) -> dict[str, str]:
        """State by name, as this node sees it; empty while it does not answer."""
        try:
            return {one["name"]: one["state"] for one in self.admin("/members")["members"]}
        except (OSError, http.client.HTTPException):
            return {}

    def live_members(self) -> list[str]:
        """The names this node counts as alive, its own included."""
        return sorted(name for name, state in self.member_states().items() if state == "alive")

    def wait_members(self, *names: str, timeout: float = CONVERGED_TIMEOUT) -> float:
        """Wait until exactly these are alive in this node's eyes."""
        return wait_until(
            lambda: self.live_members() == sorted(names),
            what=f"node {self.name} to see {', '.join(names)} alive and nobody else",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def holders(self, reference: str) -> list[str]:
        """The names of the nodes that hold an image or a digest, as this node finds them."""
        try:
            return sorted(one["name"] for one in self.admin("/holders", key=reference)["holders"])
        except LookupError:
            return []

    def finds(self, reference: str, *names: str) -> bool:
        """Whether the lookup finds at least these holders, whichever owner it asks."""
        try:
            answer = self.admin("/holders", key=reference)
        except LookupError:
            return False
        # Nobody is told that it has something itself.
        complete = {one["name"] for one in answer["holders"] if one["kind"] == "complete"} - {self.name}
        wanted = complete.intersection(names)
        return {*names} <= {one["name"] for one in answer["holders"]} and all(
            wanted <= {*named} for named in answer["named_by"].values()
        )

    def wait_holders(self, reference: str, *names: str, timeout: float = CONVERGED_TIMEOUT) -> float:
        """Wait until the lookup finds at least these holders, whichever owner it asks."""
        return wait_until(
            lambda: self.finds(reference, *names),
            what=f"node {self.name} to find {', '.join(names)} as holders of {reference}",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def wait_settled(self, timeout: float = CONVERGED_TIMEOUT) -> float:
        """Wait until this node's ring has all live members, and no owner is young any more."""

        def is_settled() -> bool:
            ring = self.admin("/ring", key=SOME_KEY)
            on_it = sorted(one["name"] for one in ring["members"])
            return on_it == self.live_members() and not any(one["young"] for one in ring["key"]["owners"])

        return wait_until(
            is_settled,
            what=f"the ring of node {self.name} to settle",
            timeout=timeout,
            logs=[self.log],
            still_possible=self.process.is_running,
        )

    def metrics(self) -> dict[str, float]:
        """Each metric's samples summed over their labels, by sample name."""
        _, body = self.namespace.get("127.0.0.1", STATUS_PORT, "/metrics")
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    def cpu_seconds(self) -> float:
        """Processor time that our process has taken since its start."""
        return 0.0 if self._process is None else self._process.cpu_seconds()

    def describe(self) -> str:
        """The ends of its logs."""
        return f"{tail(self.log)}\n{self.containerd.describe()}"

    def _ended(self, number: signal.Signals) -> int:
        process = self.process
        process.signal(number)
        status = process.wait()
        self._process = None
        return status
