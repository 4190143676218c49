"""Holders for a fetcher to ask: a router that names them, and ones that answer whatever a test wants."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Holders, NoHolderError, Peer, Purpose
from spegel_gossip.swim.address import Address
from spegel_gossip.testing.blob_sources import Then
from spegel_gossip.testing.memory_peers import MemoryRouter


class TableRouter(MemoryRouter):
    """A Router that names the holders a test gave it, and remembers what it was told of them."""

    def __init__(self) -> None:
        """Know of nobody."""
        super().__init__()
        self.size = 0
        """What it says of every blob's size."""

        self.lookups: list[tuple[Digest, Purpose]] = []
        self.misses: list[tuple[Digest, str]] = []
        self.unreachable: list[str] = []
        self.transfers: list[tuple[str, int]] = []
        """Holder and bytes of each `report_transfer`."""

        self._answers: list[Sequence[Peer]] = [()]

    def name_holders(self, *answers: Sequence[Peer]) -> None:
        """Answer the first lookup with the first of `answers`, and so on; the last one stays."""
        self._answers = list(answers)

    async def lookup(self, digest: Digest, purpose: Purpose) -> Holders:
        """Return the holders that were named."""
        await trio.lowlevel.checkpoint()
        self.lookups.append((digest, purpose))
        holders = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not holders or not self.is_reachable:
            raise self._failure(digest) if not self.is_reachable else NoHolderError(digest)
        return Holders(digest, tuple(holders), self.size)

    def report_miss(self, digest: Digest, holder: str) -> None:
        """Remember it."""
        self.misses.append((digest, holder))

    def report_unreachable(self, holder: str) -> None:
        """Remember it."""
        self.unreachable.append(holder)

    def report_transfer(self, holder: str, *, moved_bytes: int, seconds: float) -> None:
        """Remember it."""
        if seconds < 0:
            raise ValueError(f"{holder}: a transfer of {seconds} s")
        self.transfers.append((holder, moved_bytes))


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What a scripted holder sends, byte for byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    then: Then = Then.STALL
    piece: int = 0
    """Bytes of the body sent at once; 0 for all of them."""

    pause: float = 0.0
    """Seconds between two pieces, and before the first."""

    def encode(self) -> bytes:
        """Return the answer's head as it travels; nothing is added, Content-Length neither."""
        lines = [
            f"HTTP/1.1 {self.status} Whatever",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


class ScriptedHolder:
    """A TCP server that answers each request as a test says, whoever asks."""

    def __init__(self, name: str, answer: Callable[[str], RawAnswer | None]) -> None:
        """Take what makes an answer of a request head; None means silence."""
        self.name = name
        self.requests: list[str] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    @property
    def peer(self) -> Peer:
        """How the router names it."""
        return Peer(self.name, "", (Address("127.0.0.1", self._listener.getsockname()[1]),))

    async def run(self) -> None:
        """Serve until cancelled."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._listener))
        await trio.serve_listeners(self._serve, [listener])

    def close(self) -> None:
        """Stop to listen."""
        self._listener.close()

    async def _serve(self, stream: trio.SocketStream) -> None:
        head = b""
        try:
            while not head.endswith(b"\r\n\r\n"):
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            self.requests.append(head.decode())
            answer = self._answer(head.decode())
            if answer is None:
                await trio.sleep_forever()
            else:
                await self._send(stream, answer)
                await self._end(stream, answer.then)
        except trio.BrokenResourceError:
            return

    async def _send(self, stream: trio.SocketStream, answer: RawAnswer) -> None:
        if not answer.piece:
            await stream.send_all(answer.encode() + answer.body)
            return
        await stream.send_all(answer.encode())
        for start in range(0, len(answer.body), answer.piece):
            await trio.sleep(answer.pause)
            await stream.send_all(answer.body[start : start + answer.piece])

    async def _end(self, stream: trio.SocketStream, then: Then) -> None:
        if then is Then.STALL:
            await stream.receive_some()
        elif then is Then.RESET:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
