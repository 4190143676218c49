"""One blob on its way from a store into a registry: not twice, mounted if possible, whole or in parts.

The distribution specification leaves the way to the registry: some refuse parts, some
refuse a large body in one piece. So the whole is tried first, and after a failure the rest
goes up in parts from where the registry says it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Self

import httpx

from spegel_gossip.client.answers import MAX_ERROR_BYTES
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import (
    ClientError,
    DeniedError,
    IncompleteImageError,
    NotThereError,
    RegistryProtocolError,
    TransientError,
)
from spegel_gossip.client.progress import Outcome, Progress
from spegel_gossip.client.session import Ask, Session
from spegel_gossip.client.transport import Answer
from spegel_gossip.content import BlobReader
from spegel_gossip.oci.descriptor import Descriptor

READ_BYTES = 256 * 1024
"""Bytes that are read from the store at a time."""

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
"""How a registry says what it has; both ways of writing it are met."""

_BINARY = "application/octet-stream"


class Upload:
    """One blob that is being pushed to one repository."""

    def __init__(
        self,
        session: Session,
        config: ClientConfig,
        progress: Progress,
        *,
        blob: Descriptor,
        reader: BlobReader,
        repository: str,
        mount_from: Sequence[str] = (),
    ) -> None:
        """Take an open blob; the caller closes it."""
        self._session = session
        self._config = config
        self._progress = progress
        self._blob = blob
        self._reader = reader
        self._repository = repository
        self._mount_from = list(mount_from)
        self._location: str | None = None
        self._in_parts = False
        self._chunk_bytes = config.chunk_bytes
        self._position = 0
        self.outcome = Outcome.MOVED

    @property
    def position(self) -> int:
        """How many bytes the registry has taken for good."""
        return self._position

    async def attempt(self, endpoint: Endpoint) -> None:
        """Do what is missing until the registry has the blob.

        Raises:
            TransientError: try again; what the registry has taken is not sent again.
            ClientError: it does not take it.
        """
        if self._location is None:
            if await self._is_there(endpoint):
                self.outcome = Outcome.HELD
                return
            if await self._begin(endpoint):
                self.outcome = Outcome.MOUNTED
                return
        elif self._in_parts:
            await self._find_position(endpoint)
        if self._in_parts:
            await self._send_parts(endpoint)
        else:
            await self._send_whole(endpoint)

    async def _is_there(self, endpoint: Endpoint) -> bool:
        try:
            await self._call(endpoint, "HEAD", self._blob_url(), wanted=frozenset({200}))
        except NotThereError:
            return False
        return True

    async def _begin(self, endpoint: Endpoint) -> bool:
        """Open an upload; returns whether the registry had the blob in another repository instead."""
        url = f"/v2/{self._repository}/blobs/uploads/"
        for source in self._mount_from:
            query = [("mount", str(self._blob.digest)), ("from", source)]
            try:
                answer = await self._call(
                    endpoint, "POST", url, wanted=frozenset({201, 202}), query=query, also=(source,)
                )
            except DeniedError:
                # We may push here and not read there; then it is an upload like any other.
                continue
            if answer.status == HTTPStatus.CREATED:
                return True
            self._follow(endpoint, answer)
            return False
        answer = await self._call(endpoint, "POST", url, wanted=frozenset({202}))
        self._follow(endpoint, answer)
        return False

    async def _send_whole(self, endpoint: Endpoint) -> None:
        try:
            await self._put(endpoint, start=0)
        except TransientError:
            self._give_up_whole()
            raise
        except RegistryProtocolError:
            # A limit on bodies, as a rule (413), and no use to wait.
            self._give_up_whole()
            await self._begin(endpoint)
            await self._send_parts(endpoint)

    def _give_up_whole(self) -> None:
        # Parts are smaller, and can be resumed.
        self._progress.restart(self._blob.digest)
        self._in_parts = True
        self._location = None

    async def _send_parts(self, endpoint: Endpoint) -> None:
        size = self._blob.size
        while self._position < size:
            stop = min(self._position + self._chunk_bytes, size)
            answer = await self._call(
                endpoint,
                "PATCH",
                self._location or "",
                wanted=frozenset({202}),
                headers={
                    "Content-Range": f"{self._position}-{stop - 1}",
                    "Content-Length": str(stop - self._position),
                    "Content-Type": _BINARY,
                },
                part=(self._position, stop),
            )
            self._follow(endpoint, answer)
            self._position = stop
        await self._put(endpoint, start=size)

    async def _put(self, endpoint: Endpoint, *, start: int) -> None:
        """Send the bytes from `start` on, if any, and close the upload."""
        await self._call(
            endpoint,
            "PUT",
            self._location or "",
            wanted=frozenset({201, 204}),
            headers={"Content-Length": str(self._blob.size - start), "Content-Type": _BINARY},
            query=[("digest", str(self._blob.digest))],
            part=(start, self._blob.size),
        )

    async def _find_position(self, endpoint: Endpoint) -> None:
        """Ask how much of it the registry has; an upload that it has forgotten begins anew."""
        try:
            answer = await self._call(endpoint, "GET", self._location or "", wanted=frozenset({204}))
        except TransientError:
            raise
        except ClientError:
            self._location, self._position = None, 0
            self._progress.restart(self._blob.digest)
            await self._begin(endpoint)
            return
        match = _RANGE.fullmatch(answer.headers.get("range", ""))
        taken = 0 if match is None else int(match[1]) + 1
        # `0-0` is said of one byte and of none alike; one byte more or less is cheap to send.
        self._position = taken if 1 < taken <= self._blob.size else 0
        self._follow(endpoint, answer)

    def _follow(self, endpoint: Endpoint, answer: Answer) -> None:
        location = answer.headers.get("location")
        if not location:
            raise RegistryProtocolError(f"{endpoint.host} began an upload and did not say where to")
        try:
            self._location = str(answer.url.join(location))
        except httpx.InvalidURL as exc:
            raise RegistryProtocolError(f"{endpoint.host} began an upload at no address") from exc
        least = answer.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._chunk_bytes = max(self._chunk_bytes, int(least))

    async def _call(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        *,
        wanted: frozenset[int],
        headers: dict[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        part: tuple[int, int] | None = None,
        also: Sequence[str] = (),
    ) -> Answer:
        def body() -> _Part:
            start, stop = part or (0, 0)
            return _Part(self._reader, self._blob, start, stop, on_read=partial(self._tell, endpoint.host))

        ask = Ask(
            method=method,
            url=url,
            what=f"the upload of {self._blob.digest} to {self._repository}"
            if method != "HEAD"
            else f"blob {self._blob.digest} of {self._repository}",
            scopes=(
                f"repository:{self._repository}:pull,push",
                *(f"repository:{source}:pull" for source in also),
            ),
            wanted=wanted,
            headers=headers or ({"Content-Length": "0"} if method == "POST" else {}),
            query=query,
            body=None if part is None else body,
        )
        answer, _ = await self._session.call(endpoint, ask, max_bytes=MAX_ERROR_BYTES)
        return answer

    def _tell(self, host: str, count: int) -> None:
        self._progress.move(self._blob.digest, count, host)

    def _blob_url(self) -> str:
        return f"/v2/{self._repository}/blobs/{self._blob.digest}"


class _Part(httpx.AsyncByteStream):
    """A part of a blob as the body of a request.

    Not a generator: a registry that answers early leaves a body in the middle, and nobody
    would end it.
    """

    def __init__(
        self, reader: BlobReader, blob: Descriptor, start: int, stop: int, *, on_read: Callable[[int], None]
    ) -> None:
        self._reader = reader
        self._blob = blob
        self._start = start
        self._stop = stop
        self._on_read = on_read

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._start >= self._stop:
            raise StopAsyncIteration
        data = await self._reader.read_at(self._start, min(READ_BYTES, self._stop - self._start))
        if not data:
            raise IncompleteImageError(
                f"the layout's {self._blob.digest} is shorter than its descriptor says"
            )
        self._on_read(len(data))
        self._start += len(data)
        return data
