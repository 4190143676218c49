"""What can happen to a source, a mirror or a disk in the middle of a pull, and what the pull made of it.

The tests assert the results and where the bytes came from; `benchmarks/faults.py` bars the pauses.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab import images
from lab.cluster import Lab
from lab.node import PEER_PORT, Node
from lab.process import Process, wait_until

LAYER_SIZE = 40 * images.MIB
MEGABITS = 100.0
"""At which the layer takes three to four seconds, so that there is a middle."""

MIDDLE = 8 * images.MIB
PULL_TIMEOUT = 90.0
SAMPLE_INTERVAL = 0.01
TRICKLE_RATE = 1_000
"""Bytes a second."""


@dataclass(frozen=True)
class Scene:
    """A pull in its middle."""

    lab: Lab
    source: Node
    """Who sends at this moment."""

    puller: Node
    layer: str


@dataclass(frozen=True)
class Fault:
    """One thing that happens in the middle of a pull."""

    name: str
    inflict: Callable[[Scene], None]
    holders: int = 2
    has_registry: bool = False
    """Whether upstream is there meanwhile."""

    needs_upstream: bool = False
    """Whether the rest can only come from there."""

    is_from_the_start: bool = False
    """Whether it is so before the pull begins; whoever holds the layer may then be the one concerned."""


@dataclass(frozen=True)
class Outcome:
    """What became of the pull."""

    succeeded: bool
    log: str
    peer_bytes: int
    """Of blobs, from the mirror's own count."""

    upstream_bytes: int
    longest_pause: float
    """Seconds without growth of the puller's ingests, from the fault to the last byte."""

    seconds: float


def _kill(scene: Scene) -> None:
    scene.source.kill()


def _black_hole(scene: Scene) -> None:
    scene.source.namespace.black_hole(port=PEER_PORT)


def _reset(scene: Scene) -> None:
    scene.source.namespace.reset(port=PEER_PORT)


def _trickle(scene: Scene) -> None:
    scene.source.namespace.trickle(PEER_PORT, TRICKLE_RATE)


def _stop_process(scene: Scene) -> None:
    scene.source.process.signal(signal.SIGSTOP)


def _truncate(scene: Scene) -> None:
    os.truncate(scene.source.containerd.blob_path(scene.layer), 2 * MIDDLE)


def _shorten(scene: Scene) -> None:
    os.truncate(scene.source.containerd.blob_path(scene.layer), LAYER_SIZE - images.MIB)


def _lengthen(scene: Scene) -> None:
    os.truncate(scene.source.containerd.blob_path(scene.layer), LAYER_SIZE + images.MIB)


def _collect(scene: Scene) -> None:
    scene.source.containerd.blob_path(scene.layer).unlink()


def _terminate_source(scene: Scene) -> None:
    scene.source.process.signal(signal.SIGTERM)


def _kill_mirror(scene: Scene) -> None:
    scene.puller.kill()


def _terminate_mirror(scene: Scene) -> None:
    scene.puller.process.signal(signal.SIGTERM)


FAULTS: Sequence[Fault] = (
    Fault("source killed", _kill),
    Fault("source black-holed", _black_hole),
    Fault("source resets", _reset),
    Fault("source trickles", _trickle),
    Fault("source frozen", _stop_process),
    Fault("source ends early", _truncate),
    Fault("a holder's copy too short", _shorten, is_from_the_start=True),
    Fault("a holder's copy too long", _lengthen, is_from_the_start=True),
    Fault("source terminated", _terminate_source),
    Fault("blob collected while it is sent", _collect, holders=1),
    Fault("only source killed", _kill, holders=1, has_registry=True, needs_upstream=True),
    Fault("only source black-holed", _black_hole, holders=1, has_registry=True, needs_upstream=True),
    Fault("only source resets", _reset, holders=1, has_registry=True, needs_upstream=True),
    Fault("only source trickles", _trickle, holders=1, has_registry=True, needs_upstream=True),
    Fault("only source ends early", _truncate, holders=1, has_registry=True, needs_upstream=True),
    Fault("own mirror killed", _kill_mirror, has_registry=True, needs_upstream=True),
    Fault("own mirror terminated", _terminate_mirror, has_registry=True),
)


def play(lab: Lab, fault: Fault, *, seed: int, local: bool = False) -> Outcome:
    """Pull a layer from the holders, let the fault happen in the middle of it, and see it to its end."""
    puller = lab.nodes[-1]
    holders = lab.nodes[: fault.holders]
    image = images.image(seed, [LAYER_SIZE])
    layer = image.blobs[1].digest
    reference = lab.registry.push(image, f"faults/s{seed}", "v1")
    lab.start_nodes(nodes=[*holders, puller])
    for node in holders:
        node.containerd.pull(reference)
        puller.wait_holders(layer, node.name)
        puller.wait_holders(reference, node.name)
    # Every owner knows them all, whichever the puller turns to.
    puller.wait_settled()
    if not fault.has_registry:
        lab.registry.stop()
    lab.registry.forget()
    puller.namespace.limit_bandwidth(MEGABITS)
    before = {node.name: node.namespace.bytes_sent() for node in holders}
    if fault.is_from_the_start:
        fault.inflict(Scene(lab, holders[0], puller, layer))
    pull = puller.containerd.begin_pull(reference, log=lab.directory / "pull.log", local=local)
    with Growth(puller) as growth:
        growth.wait_for(MIDDLE, pull)
        source = max(holders, key=lambda node: node.namespace.bytes_sent() - before[node.name])
        growth.begin()
        began = time.monotonic()
        if not fault.is_from_the_start:
            fault.inflict(Scene(lab, source, puller, layer))
        succeeded = pull.wait(PULL_TIMEOUT) == 0
        seconds = time.monotonic() - began
    is_right = succeeded and puller.containerd.wrong_digests(image.digests) == []
    log = pull.log.read_text(errors="replace")
    return Outcome(
        is_right, log, peer_bytes(puller), lab.registry.blob_bytes(image), growth.longest_pause, seconds
    )


def peer_bytes(node: Node) -> int:
    """Bytes that a node's mirror received from peers; 0 where it is gone."""
    try:
        return int(node.metrics().get("spegel_gossip_transfer_bytes_total", 0))
    except OSError:
        return 0


class Growth:
    """Watches a node's ingests grow, from a thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._most = 0
        self._grown_at = time.monotonic()
        self.longest_pause = 0.0

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for(self, size: int, pull: Process) -> None:
        """Wait until so many bytes have arrived."""
        wait_until(
            lambda: self._most >= size,
            what=f"{size} bytes of the layer at node {self._node.name}",
            timeout=PULL_TIMEOUT,
            logs=[pull.log, self._node.log],
            still_possible=pull.is_running,
        )

    def begin(self) -> None:
        """Count pauses from here on."""
        self.longest_pause = 0.0

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_INTERVAL):
            size = self._node.containerd.ingested_bytes()
            if size > self._most:
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - self._grown_at)
                self._most, self._grown_at = size, now
