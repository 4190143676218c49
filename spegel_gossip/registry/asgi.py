"""The distribution API as plain ASGI, beneath Quart.

A Quart response with an open blob in it may be dropped before its body is begun, when
the client leaves, and the blob stays open. Here it is closed by the function that sends
it. The path is the hot one besides: every request of every pull comes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from urllib.parse import parse_qsl

import structlog
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
)

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.request import BlobRequest, ManifestRequest, parse_request_untrusted
from spegel_gossip.registry import metrics
from spegel_gossip.registry.answer import Answer, BlobBody, Kind
from spegel_gossip.registry.errors import MethodNotAllowedError, answer_bug, answer_failure
from spegel_gossip.registry.mirror import Mirror
from spegel_gossip.splice.delivery import Delivery, Ending
from spegel_gossip.splice.errors import SourceFailedError
from spegel_gossip.splice.extension import find_cancel_when_gone, find_send_blob
from spegel_gossip.splice.plain import read_blob
from spegel_gossip.splice.pump import close_source

log = structlog.get_logger(__name__)

METHODS = frozenset({"GET", "HEAD"})


class DistributionApi:
    """Answers every request whose path is not one of Quart's."""

    def __init__(self, mirror: Mirror, *, default_registry: str) -> None:
        self._mirror = mirror
        self._default_registry = default_registry

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request; stop looking for an answer when the client is gone."""
        looking = trio.CancelScope()
        cancel_when_gone = find_cancel_when_gone(scope)
        if cancel_when_gone is not None:
            cancel_when_gone(looking)
            await self._serve(scope, send, looking)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, receive, looking)
            await self._serve(scope, send, looking)
            nursery.cancel_scope.cancel()

    async def _serve(self, scope: HTTPScope, send: ASGISendCallable, looking: trio.CancelScope) -> None:
        begun_at = trio.current_time()
        with looking:
            kind, answer = await self._answer(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            labels = (kind.value, answer.outcome.value)
            metrics.REQUESTS.labels(kind.value, method, answer.outcome.value).inc()
            metrics.FIRST_BYTE_SECONDS.labels(*labels).observe(trio.current_time() - begun_at)
            log.debug("answered", method=method, path=scope["path"], status=answer.status)
        # From here on it is the sender who finds out, and says how much went out.
        if not looking.cancelled_caught:
            await _send(answer, scope, send, is_gone=lambda: looking.cancel_called, kind=kind)

    async def _answer(self, scope: HTTPScope) -> tuple[Kind, Answer]:
        """Return an answer to whatever was asked. This is where a bug becomes a logged 500."""
        kind = Kind.OTHER
        try:
            if scope["method"] not in METHODS:
                raise MethodNotAllowedError(scope["method"][:32])  # noqa: TRY301
            headers = _headers(scope)
            request = parse_request_untrusted(
                scope["path"], _ns(scope["query_string"]), default_registry=self._default_registry
            )
            if isinstance(request, ManifestRequest):
                kind = Kind.MANIFEST
            elif isinstance(request, BlobRequest):
                kind = Kind.BLOB
            answer = await self._mirror.answer(
                request,
                is_head=scope["method"] == "HEAD",
                range_header=headers.get("range"),
                if_range=headers.get("if-range"),
            )
        except SpegelGossipError as exc:
            told = answer_failure(exc, kind)
            if told is not None:
                return kind, told
            log.exception("a failure without an answer", path=scope["path"])
        except Exception:
            log.exception("a request failed by a bug", path=scope["path"])
        else:
            return kind, answer
        return kind, answer_bug(kind)


async def _cancel_when_gone(receive: ASGIReceiveCallable, cancel_scope: trio.CancelScope) -> None:
    # Bodies are read and dropped: no request that is answered here has one.
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel_scope.cancel()


def _headers(scope: HTTPScope) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _ns(query_string: bytes) -> str | None:
    return dict(parse_qsl(query_string.decode("latin-1"))).get("ns")


async def _send(
    answer: Answer, scope: HTTPScope, send: ASGISendCallable, *, is_gone: Callable[[], bool], kind: Kind
) -> None:
    """Send an answer and close its body."""
    sent_bytes = metrics.SENT_BYTES.labels(kind.value, answer.outcome.value)
    body = answer.body
    if not isinstance(body, BlobBody):
        content = b"" if scope["method"] == "HEAD" else body
        if answer.status == HTTPStatus.OK:  # an error's text is no content
            sent_bytes.inc(len(content))
        await send(_start(answer))
        await send(_chunk(content, more_body=False))
        return
    try:
        await send(_start(answer))
        delivery = await _send_blob(body, scope, send, is_gone)
    finally:
        await close_source(body.source)
    sent_bytes.inc(delivery.moved)
    metrics.DELIVERIES.labels(delivery.ending.value).inc()
    if delivery.is_complete:
        await send(_chunk(b"", more_body=False))
    else:
        # Without its end the server closes the connection, short of Content-Length.
        _log_cut(scope["path"], delivery)


def _log_cut(path: str, delivery: Delivery) -> None:
    # A client that closes early is normal: containerd's ranged reads do.
    write = log.debug if delivery.ending is Ending.CLIENT_GONE else log.info
    write(
        "blob cut short", path=path, ending=delivery.ending.value, sent=delivery.moved, detail=delivery.detail
    )


async def _send_blob(
    body: BlobBody, scope: HTTPScope, send: ASGISendCallable, is_gone: Callable[[], bool]
) -> Delivery:
    send_blob = find_send_blob(scope)
    if send_blob is not None:
        return await send_blob(body.source, body.offset, body.count)
    sent = 0
    try:
        async with aclosing(read_blob(body.source, body.offset, body.count)) as chunks:
            async for chunk in chunks:
                if is_gone():
                    return Delivery(sent, Ending.CLIENT_GONE)
                await send(_chunk(chunk, more_body=True))
                sent += len(chunk)
    except SourceFailedError as exc:
        return Delivery(sent, Ending.SOURCE_FAILED, str(exc))
    return Delivery(sent, Ending.COMPLETE)


def _start(answer: Answer) -> HTTPResponseStartEvent:
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in answer.headers.items()
    ]
    return {"type": "http.response.start", "status": answer.status, "headers": headers, "trailers": False}


def _chunk(body: bytes, *, more_body: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": body, "more_body": more_body}
