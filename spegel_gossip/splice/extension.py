"""The ASGI extension by which a handler lets the kernel send a blob: its name and its shape.

A handler answers as it always would, with `Content-Length` set, and in place of
yielding the bytes it awaits the callable found in the scope. What the server does
with it is in `splice/hypercorn.py`; a server without the extension gets the same
bytes from `splice/plain.py`:

    async def body() -> AsyncIterator[bytes]:
        send_blob = find_send_blob(request.scope)
        if send_blob is not None:
            delivery = await send_blob(source, offset, count)
        else:
            async for chunk in read_blob(source, offset, count):
                yield chunk
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import trio

from spegel_gossip.content import BlobReader
from spegel_gossip.fetching import BlobStream
from spegel_gossip.splice.delivery import Delivery

EXTENSION = "spegel_gossip.send_blob"
"""The key in `scope["extensions"]`."""

GONE_EXTENSION = "spegel_gossip.cancel_when_gone"
"""The key of the other one."""


class SendBlob(Protocol):
    """The callable in the scope: sends bytes of a blob as the whole body of this response."""

    async def __call__(self, source: BlobReader | BlobStream, offset: int, count: int) -> Delivery:
        """Send the bytes `[offset, offset + count)` of a blob and say how it ended.

        Call it once, after `http.response.start` with a `Content-Length` of exactly
        `count` went out (in Quart: from the response's body iterator), and send no
        other body bytes. Nothing is sent to a HEAD. Neither a failing source nor a client
        that closed raises: both are endings. After any but `COMPLETE` the
        connection ends with FIN, and whatever the handler still sends is dropped.

        `source` is closed when this returns or raises. Closing it again is harmless,
        so a handler still closes it on paths that never came here. Quart's own
        response timeout must be off (`response.timeout = None`): a layer may take
        longer than a minute, and a stuck transfer is given up here.

        Args:
            source: an open blob of the local store, or a stream from other nodes
            offset: the first byte's offset in the blob; for a stream its `start`
            count: bytes to send

        Raises:
            RuntimeError: misuse: no response was begun, or its Content-Length is
                not `count`.
        """


def is_available(scope: Mapping[str, Any]) -> bool:
    """Return whether the server of this request can send blobs itself."""
    return find_send_blob(scope) is not None


def find_send_blob(scope: Mapping[str, Any]) -> SendBlob | None:
    """Return the callable from an ASGI scope, or None where the server has none."""
    return cast("SendBlob | None", (scope.get("extensions") or {}).get(EXTENSION))


class CancelWhenGone(Protocol):
    """The second callable: ends a handler's work when its client has closed.

    ASGI says so by `receive`, for which a handler needs a task of its own and a nursery
    around it: a tenth of what a small answer costs.
    """

    def __call__(self, scope: trio.CancelScope) -> None:
        """Have `scope` cancelled when the client goes; the last one given counts."""


def find_cancel_when_gone(scope: Mapping[str, Any]) -> CancelWhenGone | None:
    """Return the callable from an ASGI scope, or None where only `receive` tells.

    It is there only if the request has no body: a body must be received, or it blocks the connection.
    """
    return cast("CancelWhenGone | None", (scope.get("extensions") or {}).get(GONE_EXTENSION))
