"""The bytes of a blob as chunks, for a server without the extension.

The same sources, the same order and the same patience as in `pump`, at the price of
passing every byte through Python.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import trio

from spegel_gossip.content import BlobReader, ContentStoreError
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.fetching import BlobStream, Segment
from spegel_gossip.splice.errors import SourceFailedError
from spegel_gossip.splice.inlet import Inlet
from spegel_gossip.splice.pump import close_source

CHUNK = 256 << 10
"""Bytes per chunk: large enough for the syscalls, small enough for 64 of them in memory."""

PROGRESS_TIMEOUT = 20.0
"""Seconds without a byte from any source, as in the pump."""


def read_blob(source: BlobReader | BlobStream, offset: int, count: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes `[offset, offset + count)` of a blob, then close it.

    Raises:
        SourceFailedError: the bytes ran out early. A server that lets it pass closes the
            connection short of Content-Length, which is what a client must see.
    """
    if isinstance(source, BlobReader):
        return _read_reader(source, offset, count)
    return _read_stream(source, offset, count)


async def _read_reader(reader: BlobReader, offset: int, count: int) -> AsyncGenerator[bytes, None]:
    stop = offset + count
    try:
        while offset < stop:
            try:
                data = await reader.read_at(offset, min(CHUNK, stop - offset))
            except ContentStoreError as exc:
                raise SourceFailedError(str(exc)) from exc
            if not data:
                raise SourceFailedError(f"the store gave no bytes at {offset}, {stop - offset} bytes early")
            offset += len(data)
            yield data
    finally:
        await close_source(reader)


async def _read_stream(stream: BlobStream, offset: int, count: int) -> AsyncGenerator[bytes, None]:
    begun_at, stop = offset, offset + count
    try:
        while offset < stop:
            segment = await _next_segment(stream, offset)
            inlet = Inlet(segment)
            segment_stop = min(offset + segment.length, stop)
            data = segment.head[: segment_stop - offset]
            while data or offset < segment_stop:
                if not data:
                    until = trio.current_time() + PROGRESS_TIMEOUT
                    data = await inlet.receive(min(CHUNK, segment_stop - offset), until=until)
                if not data:
                    break
                offset += len(data)
                yield data
                data = b""
                if not inlet.goes_on():
                    break
    finally:
        await close_source(stream, delivered=offset - begun_at)


async def _next_segment(stream: BlobStream, offset: int) -> Segment:
    with trio.move_on_after(PROGRESS_TIMEOUT):
        try:
            return await stream.next_segment(offset)
        except SpegelGossipError as exc:
            raise SourceFailedError(str(exc)) from exc
    raise SourceFailedError(f"no source took over at {offset} in time")
