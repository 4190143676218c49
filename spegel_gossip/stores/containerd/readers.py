"""Open blobs where the content root cannot be read: their bytes come through containerd."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.digest import Digest

MAX_SERVICE_READ = 4 * 1024 * 1024
"""Bytes that one `read_at` asks of the content service; it answers in messages of 1 MiB."""


class ServiceReader:
    """A committed blob where the content root is not mounted: its bytes come by gRPC."""

    def __init__(
        self, digest: Digest, size: int, read: Callable[[Digest, int, int], Awaitable[bytes | None]]
    ) -> None:
        self._digest = digest
        self._size = size
        self._read = read

    @property
    def size(self) -> int:
        """Bytes in the whole blob."""
        return self._size

    def fileno(self) -> None:
        """None: there is no file."""

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`.

        Raises:
            ContentNotFoundError: the blob was collected meanwhile.
            ContentStoreUnavailableError: containerd went away.
        """
        count = min(length, self._size - offset, MAX_SERVICE_READ)
        if count <= 0:
            await trio.lowlevel.checkpoint()
            return b""
        data = await self._read(self._digest, offset, count)
        if data is None:
            raise ContentNotFoundError(self._digest)
        return data

    async def aclose(self) -> None:
        """Nothing to release."""
        await trio.lowlevel.checkpoint()
