"""Getting one thing from whoever gives it: each mirror once, then the registry with patience."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import ClientError, TransientError, WrongBytesError
from spegel_gossip.client.patience import Patience
from spegel_gossip.client.progress import Progress

_Result = TypeVar("_Result")


class Sources:
    """The endpoints of one pull or push, and which of them proved useless."""

    def __init__(
        self, endpoints: Sequence[Endpoint], config: ClientConfig, rng: random.Random, progress: Progress
    ) -> None:
        """Take the endpoints in the order in which they are asked; the last is the registry itself."""
        self._endpoints = tuple(endpoints)
        self._config = config
        self._rng = rng
        self._progress = progress
        self._unreachable: dict[str, None] = {}

    async def get(
        self, attempt: Callable[[Endpoint], Awaitable[_Result]], *, position: Callable[[], int] = lambda: 0
    ) -> _Result:
        """Return what the first endpoint gives for which `attempt` succeeds.

        Args:
            attempt: asks one endpoint once; called again after a failure, it goes on from
                where it was
            position: how many bytes there are so far

        Raises:
            ClientError: the last endpoint failed for good; what the others said was told
                to the progress.
        """
        *mirrors, registry = self._endpoints
        for mirror in mirrors:
            if mirror.url not in self._unreachable:
                try:
                    return await self._from_mirror(mirror, attempt, position)
                except ClientError as exc:
                    self._progress.pass_over(mirror.host, str(exc))
        return await self._from_registry(registry, attempt, position)

    async def _from_mirror(
        self, mirror: Endpoint, attempt: Callable[[Endpoint], Awaitable[_Result]], position: Callable[[], int]
    ) -> _Result:
        for _ in range(self._config.max_resumes):
            begun_at = position()
            try:
                return await attempt(mirror)
            except TransientError as exc:
                # One that sends and is cut off goes on; one that fails outright is no help now.
                if exc.is_unreachable:
                    self._unreachable[mirror.url] = None
                if position() <= begun_at:
                    raise
        return await attempt(mirror)

    async def _from_registry(
        self,
        registry: Endpoint,
        attempt: Callable[[Endpoint], Awaitable[_Result]],
        position: Callable[[], int],
    ) -> _Result:
        patience = Patience(self._config, self._rng)
        was_wrong = False
        while True:
            begun_at = position()
            try:
                return await attempt(registry)
            except WrongBytesError:
                # Once may be the fault of what an earlier run left, or of a proxy on the way.
                if was_wrong:
                    raise
                was_wrong = True
            except TransientError as exc:
                delay = patience.delay_after(exc, has_progressed=position() > begun_at)
                if delay is None:
                    raise
                self._progress.wait(str(exc), delay)
                await trio.sleep(delay)
