"""Questions to the nodes and the registry, each answered now or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from spegel_gossip.admin.shapes import HoldersShape, MembersShape, RingShape
from spegel_gossip.demo.places import Place

ASK_TIMEOUT = 5.0
"""Seconds for one answer on this machine's loopback; it takes milliseconds."""

_SENT = "spegel_gossip_registry_sent_bytes_total"
_REQUESTS = "spegel_gossip_registry_requests_total"


class NoAnswerError(Exception):
    """Nobody answered, or not with what was asked for: it does not run, or not yet."""


@dataclass(frozen=True, slots=True)
class RegistryCount:
    """What the upstream registry counted since it began."""

    requests: int
    sent_bytes: int
    blobs: int
    """Requests for blobs."""

    blob_bytes: int
    """What it sent of blobs."""


class Asker:
    """Asks the status endpoints; close it by leaving its context."""

    def __init__(self) -> None:
        """Make the connections' pool."""
        # Whatever proxy the environment names, these are addresses of this machine.
        self._http = httpx.AsyncClient(trust_env=False, timeout=ASK_TIMEOUT)

    async def __aenter__(self) -> Self:
        """Enter the context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def members(self, place: Place) -> MembersShape:
        """Return whom a node knows.

        Raises:
            NoAnswerError: it does not say.
        """
        answer: MembersShape = await self._json(place, "members")
        return answer

    async def ring(self, place: Place) -> RingShape:
        """Return the ring as a node sees it.

        Raises:
            NoAnswerError: it does not say.
        """
        answer: RingShape = await self._json(place, "ring")
        return answer

    async def holders(self, place: Place, key: str) -> HoldersShape:
        """Return who holds something, as its owners tell a node.

        Raises:
            NoAnswerError: it does not say.
        """
        answer: HoldersShape = await self._json(place, "holders", key=key)
        return answer

    async def is_ready(self, place: Place) -> bool:
        """Return whether what is there says that it is ready."""
        try:
            await self._get(f"http://{place.registry}/readyz")
        except NoAnswerError:
            return False
        return True

    async def registry_count(self, place: Place) -> RegistryCount:
        """Return what the registry counted.

        Raises:
            NoAnswerError: it does not say.
        """
        answer = await self._get(f"http://{place.status}/metrics")
        requests = blobs = sent = of_blobs = 0.0
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == _SENT:
                    sent += sample.value
                    of_blobs += sample.value if sample.labels["kind"] == "blob" else 0
                elif sample.name == _REQUESTS:
                    requests += sample.value
                    blobs += sample.value if sample.labels["kind"] == "blob" else 0
        return RegistryCount(int(requests), int(sent), int(blobs), int(of_blobs))

    async def _json(self, place: Place, name: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self._get(f"http://{place.status}/api/{name}.json", query)
        return answer.json()

    async def _get(self, url: str, query: dict[str, str] | None = None) -> httpx.Response:
        try:
            answer = await self._http.get(url, params=query)
        except httpx.HTTPError as exc:
            raise NoAnswerError(f"{url}: {exc}") from exc
        if answer.status_code != HTTPStatus.OK:
            raise NoAnswerError(f"{url}: status {answer.status_code}")
        return answer
