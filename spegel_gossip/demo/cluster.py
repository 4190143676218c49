"""The processes of one demo: a registry, the nodes, and the pulls."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from spegel_gossip.demo.children import Child, end_all
from spegel_gossip.demo.errors import DemoError
from spegel_gossip.demo.places import Place
from spegel_gossip.oci.reference import TagName
from spegel_gossip.wire.keyring import new_key

MAX_SOCKET_PATH = 100
"""Bytes in the path of a Unix socket: the kernel takes 107."""

MAX_LINE_BYTES = 64 * 1024


@dataclass(slots=True)
class DemoNode:
    """One node with its folder, and its process while it runs."""

    name: str
    place: Place
    folder: Path
    process: Child | None = None

    @property
    def layout(self) -> Path:
        """Its image layout."""
        return self.folder / "layout"

    @property
    def log(self) -> Path:
        """Its log."""
        return self.folder.with_suffix(".log")

    @property
    def mirror(self) -> str:
        """The URL of its mirror."""
        return f"http://{self.place.registry}"


class StartLine:
    """Where pulls wait until all that are to begin together are there."""

    def __init__(self, pulls: int = 1) -> None:
        """Take how many there will be."""
        self._missing = pulls
        self._all_are_there = trio.Event()

    async def wait(self) -> None:
        """Wait for the others."""
        self._missing -= 1
        if self._missing <= 0:
            self._all_are_there.set()
        await self._all_are_there.wait()


class Cluster:
    """Starts and ends every process; blocks for a moment only, but for `end`."""

    def __init__(self, folder: Path, places: Sequence[Place]) -> None:
        """Take where files go, and one place for each node there will be, and a last for the registry.

        Raises:
            DemoError: the folder's path is too long for the nodes' sockets.
        """
        self.folder = folder
        self._key = folder / "key"
        self.upstream = places[-1]
        self.nodes = {
            f"node-{number}": DemoNode(f"node-{number}", place, folder / f"node-{number}")
            for number, place in enumerate(places[:-1], start=1)
        }
        longest = max(len(str(node.folder / "admin.sock")) for node in self.nodes.values())
        if longest > MAX_SOCKET_PATH:
            raise DemoError(f"the path of {folder} is too long for sockets: set TMPDIR to a shorter one")
        self._upstream_process: Child | None = None
        self._children: list[Child] = []

    @property
    def registry_layout(self) -> Path:
        """The layout that the registry serves."""
        return self.folder / "registry"

    @property
    def registry_log(self) -> Path:
        """The registry's log."""
        return self.folder / "registry.log"

    def living(self) -> list[DemoNode]:
        """Return the nodes that run."""
        return [node for node in self.nodes.values() if node.process and node.process.returncode is None]

    def make_key(self) -> None:
        """Make the key that seals this cluster."""
        self._key.touch(mode=0o600)
        self._key.write_text(f"{new_key()}\n")

    def start_registry(self) -> None:
        """Start the registry over its layout."""
        registry, status = self.upstream.registry, self.upstream.status
        self._upstream_process = self._start(
            "spegel_gossip.demo.upstream",
            [
                str(self.registry_layout),
                *(registry.host, str(registry.port)),
                *(status.host, str(status.port)),
            ],
            log=self.registry_log,
        )

    async def stop_registry(self) -> int | None:
        """Stop it, and return its exit status; None if it did not end."""
        process = self._upstream_process
        if process is None:
            raise ValueError("the registry was never started")
        process.signal(signal.SIGTERM)
        return await trio.to_thread.run_sync(process.wait, 5.0, abandon_on_cancel=True)

    def start_node(self, name: str, seeds: Sequence[str]) -> DemoNode:
        """Start a node that joins through others, as anybody starts one."""
        node = self.nodes[name]
        place = node.place
        node.folder.mkdir()
        arguments = ["run", "--node-name", name, "--cluster-name", "demo", "--store", "layout"]
        arguments += ["--cluster-key-file", str(self._key), "--state-dir", str(node.folder)]
        arguments += ["--advertise-address", place.peers.host, "--peer-listen", str(place.peers)]
        arguments += ["--registry-listen", str(place.registry), "--status-listen", str(place.status)]
        for seed in seeds:
            arguments += ["--seed", str(self.nodes[seed].place.peers)]
        node.process = self._start("spegel_gossip.cli.main", arguments, log=node.log)
        return node

    async def kill_node(self, name: str) -> None:
        """End a node as a power cut would."""
        process = self.nodes[name].process
        if process is None:
            raise ValueError(f"{name} was never started")
        process.signal(signal.SIGKILL)
        await trio.to_thread.run_sync(process.wait, 5.0, abandon_on_cancel=True)

    async def pull(self, name: str, image: TagName, line: StartLine) -> AsyncGenerator[dict[str, Any], None]:
        """Pull into a node's layout through its own mirror first, and give what the puller tells.

        The last event is "done" or "failed".

        Args:
            name: the node's
            image: what to pull
            line: where it waits for the other pulls
        """
        node = self.nodes[name]
        log = self.folder / f"{name}-pull.log"
        child = self._start(
            "spegel_gossip.demo.puller", [str(image), str(node.layout), node.mirror], log=log, is_piped=True
        )
        last = ""
        async with _stream(child) as stream, aclosing(_lines(stream)) as lines:
            async for told in lines:
                event: dict[str, Any] = json.loads(told)
                last = event["event"]
                with log.open("ab") as sink:
                    sink.write(told + b"\n")
                if last == "ready":
                    await line.wait()
                    child.let_go()
                yield event
        await trio.to_thread.run_sync(child.wait, 5.0, abandon_on_cancel=True)
        if last not in {"done", "failed"}:
            yield {
                "event": "failed",
                "text": f"it ended with status {child.returncode}: {child.last_words()}",
            }

    def end(self) -> None:
        """End every process that still runs, blocking for a moment."""
        end_all([child for child in self._children if child.returncode is None])

    def _start(self, module: str, arguments: Sequence[str], *, log: Path, is_piped: bool = False) -> Child:
        child = Child(module, arguments, log=log, is_piped=is_piped)
        self._children.append(child)
        return child


def _stream(child: Child) -> trio.lowlevel.FdStream:
    return trio.lowlevel.FdStream(child.detach_stdout())


async def _lines(stream: trio.lowlevel.FdStream) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError("a line without an end")
