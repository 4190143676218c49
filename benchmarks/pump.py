"""Where bodies are best moved from: the loop that everything else runs on, or threads with an epoll each.

Three servers run at once, one of each kind, and take turns. What counts is how fast they are, what a
gigabyte costs them, and how late their loops run meanwhile: the loop also has to answer pings.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from benchmarks.harness import ROOT, Bench, median, quantile, run
from benchmarks.programs import HOST, cpu_seconds, free_port
from benchmarks.pump_threads import ThreadPump
from spegel_gossip.fetching import Segment
from spegel_gossip.oci.digest import Digest
from spegel_gossip.splice.pump import Pump

SIZE = 1 << 30
SAMPLE_INTERVAL = 0.005
MODES = ("loop", "1 thread", "2 threads")
STREAMS = (1, 8, 64)
LINE_BYTES = 32
READ_BYTES = 4 << 20
ORIGIN = "loop"
"""Whoever moves bytes from another socket has them from this one's disk."""


@dataclass(frozen=True)
class Server:
    """A running server of one kind."""

    mode: str
    port: int
    pid: int


def measure(bench: Bench) -> None:
    """All kinds, one hop and two, with few streams and many."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spegel-gossip-bench-")))
        path = directory / "blob"
        with path.open("wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        origin = start("origin", ORIGIN, path, 0, stack)
        servers = [start(mode, mode, path, origin.port, stack) for mode in MODES]
        for what in ("file", "peer"):
            for streams in STREAMS:
                compare(bench, servers, what, streams)


def start(name: str, mode: str, path: Path, origin: int, stack: ExitStack) -> Server:
    """Start a server of a kind."""
    port = free_port()
    argv = [sys.executable, __file__, "--serve", mode, str(path), str(port), str(origin)]
    process = subprocess.Popen(argv, cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.kill)
    for _ in range(200):
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return Server(name, port, process.pid)
    raise RuntimeError(f"the server {name} does not listen")


def compare(bench: Bench, servers: list[Server], what: str, streams: int) -> None:
    """Let each kind move the same bytes, in turn."""
    rounds = 1 if bench.is_short else 5
    rates: dict[str, list[float]] = {server.mode: [] for server in servers}
    costs: dict[str, list[float]] = {server.mode: [] for server in servers}
    late: dict[str, list[float]] = {server.mode: [] for server in servers}
    each = max(SIZE // streams, 64 << 20)
    for number in range(rounds + 1):
        for server in servers if number % 2 else servers[::-1]:
            ask(server.port, "stats")
            cpu, began = cpu_seconds(server.pid), time.monotonic()
            drain(server.port, what, each, streams)
            seconds = time.monotonic() - began
            cost = cpu_seconds(server.pid) - cpu
            found = json.loads(ask(server.port, "stats"))
            if number:  # the first round warms up
                rates[server.mode].append(each * streams / seconds / 1e9)
                costs[server.mode].append(cost / (each * streams) * 1e9)
                late[server.mode].append(found["p99"])
    for server in servers:
        name = f"{what}, {streams} streams, {server.mode}"
        bench.figure(f"{name}: GB/s", median(rates[server.mode]))
        bench.figure(f"{name}: CPU-s per GB", median(costs[server.mode]))
        bench.figure(f"{name}: loop late, p99 ms", median(late[server.mode]) * 1e3)


def ask(port: int, line: str) -> bytes:
    """Send a line, return all that comes."""
    with socket.create_connection((HOST, port)) as sock:
        sock.sendall(line.encode().ljust(LINE_BYTES))
        pieces = []
        while data := sock.recv(64 << 10):
            pieces.append(data)
        return b"".join(pieces)


def drain(port: int, what: str, count: int, streams: int) -> None:
    """Get so many bytes over so many connections at once, and drop them in the kernel."""
    selector, buffer = selectors.DefaultSelector(), bytearray(READ_BYTES)
    for _ in range(streams):
        sock = socket.create_connection((HOST, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 256 << 10)
        sock.sendall(f"{what} {count}".encode().ljust(LINE_BYTES))
        selector.register(sock, selectors.EVENT_READ, sock)
    total = 0
    while selector.get_map():
        for key, _ in selector.select(60):
            receiver: socket.socket = key.data
            moved = receiver.recv_into(buffer, READ_BYTES, socket.MSG_TRUNC)
            total += moved
            if moved == 0:
                selector.unregister(receiver)
                receiver.close()
    if total != count * streams:
        raise RuntimeError(f"{total} bytes of {count * streams}")


class OnePeer:
    """The segment and the stream of a peer's socket that has all the bytes."""

    def __init__(self, sock: trio.socket.SocketType, count: int) -> None:
        self.digest = Digest.of(b"")
        self.size = self.stop = self.length = count
        self.start, self.source, self.head, self.stall_timeout = 0, "origin", b"", 20.0
        self._sock = sock

    def fileno(self) -> int:
        """The peer's socket."""
        return self._sock.fileno()

    def keeps_pace(self, *, waited: float, moved: int) -> bool:  # noqa: ARG002 - the port's signature
        """Be content with any pace."""
        return True

    async def next_segment(self, offset: int) -> Segment:  # noqa: ARG002 - the same
        """The only one."""
        await trio.lowlevel.checkpoint()
        return self

    async def aclose(self, *, delivered: int) -> None:  # noqa: ARG002 - the same
        """Close the socket."""
        self._sock.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


class Serving:
    """One server: a line comes, bytes go."""

    def __init__(self, mode: str, path: Path, origin: int) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self._origin = origin
        self._pump = Pump()
        self._threads = None if mode == "loop" else ThreadPump(int(mode[0]))
        self._late: list[float] = []

    async def watch(self) -> None:
        """Take down how late the loop is."""
        while True:
            due_at = trio.current_time() + SAMPLE_INTERVAL
            await trio.sleep_until(due_at)
            self._late.append(trio.current_time() - due_at)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection."""
        async with stream:
            line = b""
            while len(line) < LINE_BYTES:
                data = await stream.receive_some(LINE_BYTES - len(line))
                if not data:
                    return
                line += data
            what, _, count = line.decode().strip().partition(" ")
            if what == "stats":
                late, self._late = self._late or [0.0], []
                await stream.send_all(json.dumps({"p99": quantile(late, 0.99)}).encode())
            elif what == "file":
                await self._send_file(stream.socket, int(count))
            else:
                await self._send_on(stream.socket, int(count))

    async def _send_file(self, sock: trio.socket.SocketType, count: int) -> None:
        if self._threads is None:
            await self._pump.send_file(sock, self._fd, 0, count)
        else:
            await self._threads.send_file(sock.fileno(), self._fd, count)

    async def _send_on(self, sock: trio.socket.SocketType, count: int) -> None:
        peer = trio.socket.socket()
        await peer.connect((HOST, self._origin))
        await peer.send(f"file {count}".encode().ljust(LINE_BYTES))
        if self._threads is None:
            await self._pump.send_stream(sock, OnePeer(peer, count), 0, count)
        else:
            await self._threads.send_from(sock.fileno(), peer.fileno(), count)
            peer.close()


async def serve(mode: str, path: Path, port: int, origin: int) -> None:
    """Serve until killed."""
    serving = Serving(mode, path, origin)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving.watch)
        nursery.start_soon(partial(trio.serve_tcp, serving.serve, port, host=HOST))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        mode, path, port, origin = sys.argv[2:6]
        trio.run(serve, mode, Path(path), int(port), int(origin))
    else:
        run("pump", __doc__ or "", measure)
