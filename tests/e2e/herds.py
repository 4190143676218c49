"""Many containerds pull one image: all at once, a moment apart, or after one that has it.

The tests assert what was sent and that all is right; `benchmarks/herd.py` bars the times.
"""

import signal
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.cluster import Lab
from lab.images import Artifact
from lab.node import Node
from lab.process import Process, wait_until

PULL_TIMEOUT = 120.0
SAMPLE_INTERVAL = 0.04
"""Seconds between two looks at what has arrived; eight nodes are looked at, on two cores."""


@dataclass(frozen=True)
class Links:
    """Megabits a second of the registry's link and of each node's."""

    registry: float
    node: float | None = None


@dataclass(frozen=True)
class PullResult:
    """How one node's pull went."""

    succeeded: bool
    seconds: float
    longest_pause: float
    """Seconds without a byte, from the pull's first byte (or from `Herd.mark`) to its last."""


@dataclass(frozen=True)
class HerdResult:
    """How the pulls of one image went."""

    size: int
    pulls: Mapping[str, PullResult]
    blob_bytes: int
    """Of blobs, by the registry's own log, which has a request only when it has ended."""

    sent_bytes: int
    """All that left the registry, headers and repetitions with it."""

    @property
    def seconds(self) -> float:
        """Until the last node had it."""
        return max(pull.seconds for pull in self.pulls.values())

    @property
    def longest_pause(self) -> float:
        """Of any node."""
        return max(pull.longest_pause for pull in self.pulls.values())

    @property
    def failed(self) -> list[str]:
        """The nodes that do not have it, or not rightly."""
        return [name for name, pull in self.pulls.items() if not pull.succeeded]

    @property
    def egress(self) -> float:
        """Blob bytes from the registry, in sizes of the image."""
        return self.blob_bytes / self.size

    @property
    def sent(self) -> float:
        """All bytes from the registry, in sizes of the image."""
        return self.sent_bytes / self.size


@dataclass
class _Arrival:
    """What a node has of the image, as time goes by."""

    most: int = 0
    grown_at: float = 0.0
    longest_pause: float = 0.0


@dataclass
class _Pull:
    process: Process
    begun_at: float
    log: Path
    ended_at: float | None = None
    arrival: _Arrival = field(default_factory=_Arrival)


class Herd:
    """The pulls of one image by some nodes; a context manager that watches them meanwhile."""

    def __init__(self, lab: Lab, image: Artifact, reference: str) -> None:
        self.lab = lab
        self.image = image
        self.reference = reference
        self.size = sum(blob.size for blob in image.blobs)
        self._pulls: dict[Node, _Pull] = {}
        self._sent_before = lab.registry.namespace.bytes_sent()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for pull in self._pulls.values():
            if pull.process.is_running():
                pull.process.kill()

    def begin(self, *nodes: Node, apart: float = 0.0, arguments: Sequence[str] = ()) -> None:
        """Start pulls, each `apart` seconds after the one before it; again where one has ended."""
        for number, node in enumerate(nodes):
            if number and apart:
                self.let_pass(apart)
            log = Path(self.lab.directory, f"pull-{node.name}.log")
            process = node.containerd.begin_pull(self.reference, log=log, arguments=arguments)
            before = self._pulls.get(node)
            if before is None:
                self._pulls[node] = _Pull(process, time.monotonic(), log)
            else:
                self._pulls[node] = replace(before, process=process, ended_at=None)

    def let_pass(self, seconds: float) -> None:
        """Let the pulls go on for a while."""
        self._ended.wait(seconds)

    def pull_of(self, node: Node) -> Process:
        """A node's pull."""
        return self._pulls[node].process

    def arrived(self, node: Node) -> int:
        """Bytes of the image at a node, as far as they were seen."""
        return self._pulls[node].arrival.most

    def wait_for(self, size: int, nodes: Collection[Node] | None = None) -> None:
        """Wait until so many bytes have arrived at each of these nodes, by default at all that pull."""
        asked = self._pulls if nodes is None else nodes
        wait_until(
            lambda: all(self.arrived(node) >= size for node in asked),
            what=f"{size} bytes at {', '.join(node.name for node in asked)}",
            timeout=PULL_TIMEOUT,
            logs=[log for node in asked for log in (self._pulls[node].log, node.log)],
            still_possible=lambda: any(self._pulls[node].process.is_running() for node in asked),
        )

    def fetching(self) -> list[Node]:
        """The nodes to which the registry is sending at this moment."""
        sending = self.lab.registry.sending_to()
        return [node for node in self._pulls if node.address in sending]

    def wait_fetching(self, node: Node) -> None:
        """Wait until the registry sends to a node; at a given moment it may have nothing that waits."""
        wait_until(
            lambda: node in self.fetching(),
            what=f"the registry to send to node {node.name}",
            timeout=PULL_TIMEOUT,
            logs=[self._pulls[node].log, node.log],
            still_possible=self._pulls[node].process.is_running,
        )

    def mark(self) -> None:
        """Count pauses from here on."""
        for pull in self._pulls.values():
            pull.arrival.longest_pause = 0.0

    def wait_ended(self, nodes: Collection[Node] | None = None, *, timeout: float = PULL_TIMEOUT) -> None:
        """Wait until these pulls have ended, well or not; by default all."""
        asked = self._pulls if nodes is None else nodes
        wait_until(
            lambda: all(self._pulls[node].ended_at is not None for node in asked),
            what="the pulls to end",
            timeout=timeout,
            logs=[log for node in asked for log in (self._pulls[node].log, node.log)],
        )

    def end(self, nodes: Collection[Node], *, timeout: float) -> None:
        """Wait until these pulls have ended, and give up by Ctrl-C those that hang."""
        try:
            self.wait_ended(nodes, timeout=timeout)
        except TimeoutError:
            for node in nodes:
                if self.pull_of(node).is_running():
                    self.pull_of(node).signal(signal.SIGINT)
            self.wait_ended(nodes)

    def result(self, nodes: Collection[Node] | None = None) -> HerdResult:
        """How the pulls of these nodes went; by default of all."""
        registry = self.lab.registry
        asked = self._pulls if nodes is None else nodes
        return HerdResult(
            self.size,
            {node.name: self._result_of(node) for node in asked},
            registry.blob_bytes(self.image),
            registry.namespace.bytes_sent() - self._sent_before,
        )

    def _result_of(self, node: Node) -> PullResult:
        pull = self._pulls[node]
        ended_at = pull.ended_at
        if ended_at is None:
            return PullResult(succeeded=False, seconds=time.monotonic() - pull.begun_at, longest_pause=0.0)
        succeeded = pull.process.returncode == 0 and not node.containerd.wrong_digests(self.image.digests)
        return PullResult(succeeded, ended_at - pull.begun_at, pull.arrival.longest_pause)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_INTERVAL):
            for node, pull in list(self._pulls.items()):
                if pull.ended_at is not None:
                    continue
                self._look(node, pull.arrival)
                if not pull.process.is_running():
                    pull.ended_at = time.monotonic()

    def _look(self, node: Node, arrival: _Arrival) -> None:
        here = node.containerd.ingested_bytes()
        for blob in self.image.blobs:
            with suppress(FileNotFoundError):
                here += node.containerd.blob_path(blob.digest).stat().st_size
        if here > arrival.most:
            now = time.monotonic()
            if arrival.grown_at:
                arrival.longest_pause = max(arrival.longest_pause, now - arrival.grown_at)
            arrival.most, arrival.grown_at = here, now


def start(lab: Lab) -> None:
    """Start our processes on all nodes, and wait until no owner is young any more."""
    lab.start_nodes()
    lab.nodes[0].wait_settled()


def limit(lab: Lab, links: Links) -> None:
    """Give the registry and the nodes their links, and count what it sends from here on."""
    lab.registry.namespace.limit_bandwidth(links.registry)
    if links.node is not None:
        for node in lab.nodes:
            node.namespace.limit_bandwidth(links.node)
    lab.registry.forget()


def lift(lab: Lab) -> None:
    """Give everybody the links back that they had at first."""
    for namespace in (lab.registry.namespace, *(node.namespace for node in lab.nodes)):
        namespace.lift_bandwidth_limit()
