"""One blob on its way from registries into the store, resumed where it stopped."""

from __future__ import annotations

import re
from urllib.parse import unquote

import trio

from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import TransientError, WrongBytesError
from spegel_gossip.client.progress import Progress, Role
from spegel_gossip.client.session import Ask, Session
from spegel_gossip.client.transport import Answer
from spegel_gossip.content import ContentMismatchError, ContentWriter, Ingest
from spegel_gossip.oci.descriptor import Descriptor

WRITE_BYTES = 512 * 1024
"""Bytes that are gathered before they are written: each write may cost a hop to a thread."""

SOURCE_HEADER = "Spegel-Gossip-Source"
"""What our own mirror answers with: the node that the bytes come from."""

MAX_SOURCE_LENGTH = 253
_UNNAMED_SOURCES = frozenset({"local", "peer"})

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


class Download:
    """One blob that is being fetched; ends with `close`."""

    def __init__(
        self,
        session: Session,
        writer: ContentWriter,
        progress: Progress,
        *,
        blob: Descriptor,
        role: Role,
        repository: str,
        ingest: Ingest,
    ) -> None:
        """Take over an open ingest of the blob."""
        self._session = session
        self._writer = writer
        self._progress = progress
        self._blob = blob
        self._role = role
        self._repository = repository
        self._ingest: Ingest | None = ingest
        self._may_resume = True

    @property
    def offset(self) -> int:
        """How many bytes are here."""
        return 0 if self._ingest is None else self._ingest.offset

    async def close(self) -> None:
        """Keep what is here, unless it was committed, for whoever asks next."""
        if self._ingest is not None:
            with trio.CancelScope(shield=True):
                await self._ingest.keep()

    async def attempt(self, endpoint: Endpoint) -> None:
        """Fetch what is missing from one endpoint, verify the whole, and commit it.

        Raises:
            TransientError: it was cut off; what came is kept, another attempt goes on from there.
            WrongBytesError: what came is not the blob; nothing of it is kept.
            ClientError: that endpoint does not give it.
            ContentStoreUnavailableError: it cannot be stored.
        """
        ingest = self._ingest
        if ingest is not None and ingest.offset and not self._may_resume:
            await self._drop(ingest)
            ingest = None
        if ingest is None:
            ingest = await self._open()
        if ingest is None:
            # Another process had begun it too, and has finished.
            return
        try:
            if ingest.offset < self._blob.size:
                ingest = await self._receive(endpoint, ingest)
            if ingest is not None:
                await ingest.commit()
        except ContentMismatchError as exc:
            self._ingest = None
            self._progress.restart(self._blob.digest)
            raise WrongBytesError(self._blob.digest, endpoint.host) from exc

    async def _open(self) -> Ingest | None:
        self._ingest = await self._writer.open_ingest(
            f"{self._role.value}-{self._blob.digest}", self._blob.digest, self._blob.size
        )
        return self._ingest

    async def _drop(self, ingest: Ingest) -> None:
        self._ingest = None
        await ingest.abort()
        self._progress.restart(self._blob.digest)

    async def _receive(self, endpoint: Endpoint, ingest: Ingest) -> Ingest | None:
        """Write the missing bytes; returns the ingest that has them, which may be another."""
        offset = ingest.offset
        digest = self._blob.digest
        ask = Ask(
            method="GET",
            url=f"/v2/{self._repository}/blobs/{digest}",
            what=f"blob {digest} of {self._repository}",
            scopes=(f"repository:{self._repository}:pull",),
            wanted=frozenset({200, 206, 416}),
            headers={"Range": f"bytes={offset}-"} if offset else {},
        )
        async with self._session.open(endpoint, ask) as answer:
            match answer.status:
                case 200 if offset:
                    # It does not do ranges: what is here comes once more.
                    await self._drop(ingest)
                    reopened = await self._open()
                    if reopened is None:
                        return None
                    ingest = reopened
                case 206 if not _continues(answer, offset, self._blob.size):
                    self._may_resume = False
                    raise TransientError(f"{endpoint.host} sent another part of {digest} than was asked for")
                case 416:
                    # It has fewer bytes than we have: one of the two is not this blob.
                    await self._drop(ingest)
                    raise WrongBytesError(digest, endpoint.host)
                case _:
                    pass
            await self._write_body(answer, ingest, endpoint)
        if ingest.offset < self._blob.size:
            raise TransientError(
                f"{endpoint.host} sent {ingest.offset} of {self._blob.size} bytes of {digest}: try again"
            )
        return ingest

    async def _write_body(self, answer: Answer, ingest: Ingest, endpoint: Endpoint) -> None:
        source = source_of(answer, endpoint)
        gathered = bytearray()
        try:
            while chunk := await answer.read_some():
                self._progress.move(self._blob.digest, len(chunk), source)
                gathered += chunk
                if len(gathered) >= WRITE_BYTES:
                    data, gathered = gathered, bytearray()
                    await ingest.write(bytes(data))
        except TransientError:
            if gathered:
                await ingest.write(bytes(gathered))
            raise
        if gathered:
            await ingest.write(bytes(gathered))


def _continues(answer: Answer, offset: int, size: int) -> bool:
    """Return whether a 206 is what a range from `offset` to the end asked for (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None or int(match[1]) != offset or int(match[2]) < offset:
        return False
    # It may send less than all of the rest, and then there is another attempt; never more.
    return int(match[2]) < size and match[3] in {"*", str(size)}


def source_of(answer: Answer, endpoint: Endpoint) -> str:
    """Return who really sends an answer, fit to be shown."""
    name = unquote(answer.headers.get(SOURCE_HEADER, ""))[:MAX_SOURCE_LENGTH]
    if not endpoint.is_mirror or name in _UNNAMED_SOURCES or not name or not name.isprintable():
        return endpoint.host
    return f"{name} through {endpoint.host}"
