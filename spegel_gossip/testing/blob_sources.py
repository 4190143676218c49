"""Blobs to send, from a file, from memory, and from peers that fail on cue."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import AllHoldersFailedError

PIECE = 64 << 10
"""Bytes a scripted source sends at once."""

HEALTHY_STALL_TIMEOUT = 20.0


class FileReader:
    """A BlobReader over a real file."""

    def __init__(self, path: Path) -> None:
        """Open it."""
        self._fd: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._fd is None

    def fileno(self) -> int | None:
        """Return the file's descriptor."""
        return self._fd

    async def read_at(self, offset: int, length: int) -> bytes:
        """Read from the file."""
        await trio.lowlevel.checkpoint()
        if self._fd is None:
            raise ValueError("read after close")
        return os.pread(self._fd, length, offset)

    async def aclose(self) -> None:
        """Close the descriptor."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class MemoryReader:
    """A BlobReader without a descriptor, as containerd's Read is; may fail at an offset."""

    def __init__(self, data: bytes, *, fail_at: int | None = None, failure: Exception | None = None) -> None:
        """Hold `data`; from `fail_at` on raise `failure`, or give nothing if that is None."""
        self.size = len(data)
        self.is_closed = False
        self._data = data
        self._fail_at = len(data) if fail_at is None else fail_at
        self._failure = failure

    def fileno(self) -> int | None:
        """There is none."""
        return None

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return a slice."""
        await trio.lowlevel.checkpoint()
        if offset >= self._fail_at and self._failure is not None:
            raise self._failure
        return self._data[offset : min(offset + length, self._fail_at)]

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True


class Then(Enum):
    """What a scripted source does once it has sent what it was told to."""

    CLOSE = auto()
    STALL = auto()
    RESET = auto()


@dataclass(frozen=True, slots=True)
class ScriptedSource:
    """One source of a `ScriptedStream`."""

    gives: int | None = None
    """Bytes it sends; None for all that is left."""

    then: Then = Then.STALL
    """What follows; a source that gave everything keeps its connection, as keep-alive does."""

    head: int = 0
    """How many of the bytes come along with the response head."""


@dataclass(frozen=True, slots=True)
class ScriptedSegment:
    """What a scripted source began to send."""

    source: str
    head: bytes
    length: int
    stall_timeout: float
    sock: socket.socket

    def fileno(self) -> int:
        """Return the receiving socket's descriptor."""
        return self.sock.fileno()

    def keeps_pace(self, *, waited: float, moved: int) -> bool:  # noqa: ARG002 # the port's
        """Find every pace good enough."""
        return True


@dataclass
class ScriptedStream:
    """A BlobStream whose sources send real bytes over real sockets, and fail as they are told."""

    data: bytes
    sources: Sequence[ScriptedSource]
    nursery: trio.Nursery
    start: int = 0
    stop: int = -1
    stall_timeout: float = 0.3
    """Seconds of silence after which a source that is told to stall is given up."""

    delivered: int | None = None
    asked: list[int] = field(default_factory=list)
    """The offsets from which a segment was asked for."""

    _segments: list[ScriptedSegment] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the whole blob unless told otherwise."""
        self.digest = Digest.of(self.data)
        self.size = len(self.data)
        if self.stop < 0:
            self.stop = self.size

    @property
    def source(self) -> str:
        """The source that serves now."""
        return f"source-{len(self.asked) - 1}"

    async def next_segment(self, offset: int) -> ScriptedSegment:
        """Bring the next source in, or raise when the script is over."""
        if len(self.asked) == len(self.sources):
            raise AllHoldersFailedError(self.digest, [f"source-{i}: failed" for i in range(len(self.asked))])
        script = self.sources[len(self.asked)]
        self.asked.append(offset)
        rest = self.data[offset : self.stop]
        given = rest if script.gives is None else rest[: script.gives]
        receiving, sending = await _loopback_pair()
        stalls = script.then is Then.STALL and len(given) < len(rest)
        # A healthy source is never given up because the machine that runs the test is busy.
        timeout = self.stall_timeout if stalls else HEALTHY_STALL_TIMEOUT
        segment = ScriptedSegment(self.source, given[: script.head], len(rest), timeout, receiving)
        self._segments.append(segment)
        self.nursery.start_soon(_feed, sending, given[script.head :], script.then)
        return segment

    async def aclose(self, *, delivered: int) -> None:
        """Remember what was delivered, the first time."""
        await trio.lowlevel.checkpoint()
        if self.delivered is None:
            self.delivered = delivered
        for segment in self._segments:
            segment.sock.close()


async def _loopback_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = socket.create_connection(listener.getsockname())
        receiving, _ = listener.accept()
    await trio.lowlevel.checkpoint()
    receiving.setblocking(False)
    return receiving, sending


async def _feed(sending: socket.socket, data: bytes, then: Then) -> None:
    sending.setblocking(False)
    with trio.socket.from_stdlib_socket(sending) as sock:
        view = memoryview(data)
        try:
            while view:
                view = view[await sock.send(view[:PIECE]) :]
            if then is Then.STALL:
                await sock.recv(1)
            elif then is Then.RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            return
