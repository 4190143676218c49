"""Blobs: from the local store if it has them, else from whoever does."""

from __future__ import annotations

from spegel_gossip.content import BlobReader, ContentNotFoundError, ContentStore, ContentStoreError
from spegel_gossip.fetching import BlobFetcher, BlobStream, SlotYieldedError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.oci.media_type import OCTET_STREAM
from spegel_gossip.oci.range import ByteRange, RequestedRange
from spegel_gossip.registry import metrics
from spegel_gossip.registry.answer import LOCAL, PEER, Answer, BlobBody, Outcome, content_headers
from spegel_gossip.registry.yielded import YieldedStream


class Blobs:
    """Answers requests for blobs."""

    def __init__(self, *, store: ContentStore, fetcher: BlobFetcher) -> None:
        self._store = store
        self._fetcher = fetcher

    async def head(self, digest: Digest) -> Answer:
        """Return the head of what `get` without a range would answer.

        Raises:
            RoutingError: nobody has it.
        """
        try:
            return _answer(digest, await self._store.size(digest), source=LOCAL, outcome=Outcome.LOCAL)
        except ContentStoreError as exc:
            _count_failure(exc)
        size = await self._fetcher.size(digest)
        return _answer(digest, size, source=PEER, outcome=Outcome.PEER)

    async def get(self, digest: Digest, requested: RequestedRange | None) -> Answer:
        """Open a blob, or the part of it that was asked for.

        Raises:
            RoutingError: nobody has it.
            InvalidRangeError: it has no such bytes.
        """
        try:
            reader = await self._store.open(digest)
        except ContentStoreError as exc:
            _count_failure(exc)
            try:
                return await self._get_from_peer(digest, requested)
            except SlotYieldedError as yielded:
                part = None if requested is None else requested.within(yielded.size)
                stream = YieldedStream(digest, yielded.size, part)
                return _answer(digest, yielded.size, part, stream, source=PEER, outcome=Outcome.YIELDED)
        try:
            part = None if requested is None else requested.within(reader.size)
        except InvalidRangeError:
            await reader.aclose()
            raise
        return _answer(digest, reader.size, part, reader, source=LOCAL, outcome=Outcome.LOCAL)

    async def _get_from_peer(self, digest: Digest, requested: RequestedRange | None) -> Answer:
        if requested is None:
            stream = await self._fetcher.open(digest)
            return _answer(digest, stream.size, None, stream, source=stream.source, outcome=Outcome.PEER)
        if requested.start is None:
            # The last bytes have no offset before the size is known.
            part = requested.within(await self._fetcher.size(digest))
            start, stop = (0, None) if part is None else (part.start, part.stop)
        else:
            # What containerd sends to go on with a pull: one question is enough.
            start, stop = requested.start, None if requested.last is None else requested.last + 1
        stream = await self._fetcher.open(digest, start=start, stop=stop, is_range=True)
        try:
            part = requested.within(stream.size)
        except InvalidRangeError:
            await stream.aclose(delivered=0)
            raise
        return _answer(digest, stream.size, part, stream, source=stream.source, outcome=Outcome.PEER)


def _answer(
    digest: Digest,
    size: int,
    part: ByteRange | None = None,
    body: BlobReader | BlobStream | None = None,
    *,
    source: str,
    outcome: Outcome,
) -> Answer:
    """Put an answer together; without a `body` it is one to a HEAD."""
    start, count = (0, size) if part is None else (part.start, part.length)
    headers = content_headers(digest, OCTET_STREAM, count, source=source) | {"Accept-Ranges": "bytes"}
    if part is not None:
        headers["Content-Range"] = part.content_range(size)
    return Answer(
        200 if part is None else 206,
        headers,
        b"" if body is None else BlobBody(body, start, count),
        outcome,
    )


def _count_failure(failure: ContentStoreError) -> None:
    # "No" is an answer; anything else means that the store, which may well have it, was passed over.
    if not isinstance(failure, ContentNotFoundError):
        metrics.STORE_FAILURES.inc()
