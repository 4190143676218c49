"""HTTP/1.1 and nothing else on a connection: Hypercorn's protocol without its ways to HTTP/2.

Over HTTP/2 no blob could leave by the kernel, and an answer that is cut short would never end:
its stream is neither closed nor reset. Who asks for HTTP/2 by `Upgrade` is answered in HTTP/1.1,
as RFC 9110 (section 7.8) permits; who takes it for granted hears 505 and the end.
"""

from __future__ import annotations

from typing import Self

import h11
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

ARGUMENTS = (
    "app",
    "config",
    "context",
    "task_group",
    "connection_state",
    "ssl",
    "client",
    "server",
    "send",
)
"""Hypercorn's attributes of a protocol, by the names of what it is made with."""


class Http1Protocol(H11Protocol):
    """One connection's protocol."""

    @classmethod
    def in_place_of(cls, fresh: H11Protocol) -> Self:
        """Return one that does what `fresh`, which has read nothing yet, would have done."""
        return cls(**{name: getattr(fresh, name) for name in ARGUMENTS})

    async def _check_protocol(self, event: h11.Request) -> None:
        """Turn to no other protocol."""

    async def _create_stream(self, request: h11.Request) -> None:
        if not request.http_version.startswith(b"1."):
            # What an HTTP/2 connection begins with looks to h11 like any request.
            await self._send_error_response(505)
            await self.send(Closed())
            return
        await super()._create_stream(request)
