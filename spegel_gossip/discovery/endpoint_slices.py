"""EndpointSlices as an API server tells of them: a list, then changes.

What it says is read with distrust: it may be a proxy's error page, another version's
idea of a slice, or a list without end. Whatever makes no sense is passed over or ends
the conversation, and the addresses known so far stay.
"""

from __future__ import annotations

import json
from typing import Any, Final

from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address

MAX_SLICES: Final = 256
"""Slices of one Service, 100 endpoints each by default: five times the largest cluster there is."""

MAX_ADDRESSES: Final = 10_000


class EndpointSlices:
    """The addresses of one Service, kept up to date by lists and changes."""

    def __init__(self, *, port: int) -> None:
        """Take the port on which every endpoint is a member."""
        self._port = port
        self._slices: dict[str, tuple[Address, ...]] = {}

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All of them, without repetition."""
        found = dict.fromkeys(address for each in self._slices.values() for address in each)
        return tuple(found)[:MAX_ADDRESSES]

    def read_list_untrusted(self, body: bytes) -> str:
        """Replace everything by a list; return the version of it from which changes can be asked for.

        Raises:
            DiscoveryError: it is no list of slices; nothing has changed.
        """
        document = _object(body)
        items, metadata = document.get("items"), document.get("metadata")
        if document.get("kind") != "EndpointSliceList" or not isinstance(items, list | None):
            raise DiscoveryError("the API server's answer is no list of EndpointSlices")
        slices = {}
        for item in (items or [])[:MAX_SLICES]:
            if (name := _name_of(item)) is not None:
                slices[name] = self._addresses_of(item)
        self._slices = slices
        return _text(metadata, "resourceVersion")

    def read_change_untrusted(self, line: bytes) -> None:
        """Apply one line of a watch.

        Raises:
            DiscoveryError: the watch is over, or was never one: list again.
        """
        document = _object(line)
        item: Any = document.get("object")
        name = _name_of(item)
        match document.get("type"):
            case "ADDED" | "MODIFIED":
                if name is not None and (name in self._slices or len(self._slices) < MAX_SLICES):
                    self._slices[name] = self._addresses_of(item)
            case "DELETED":
                self._slices.pop(name or "", None)
            case "BOOKMARK":
                pass
            case _:
                raise DiscoveryError("the API server ended the watch")

    def _addresses_of(self, item: dict[str, Any]) -> tuple[Address, ...]:
        found: list[Address] = []
        endpoints = item.get("endpoints")
        # Ready or not: a node must find the others before it is ready, and they it.
        for endpoint in endpoints if isinstance(endpoints, list) else ():
            texts = endpoint.get("addresses") if isinstance(endpoint, dict) else None
            for text in texts if isinstance(texts, list) else ():
                address = self._address(text)
                if address is not None:
                    found.append(address)
        return tuple(found[:MAX_ADDRESSES])

    def _address(self, text: object) -> Address | None:
        try:
            return Address.make(str(text), self._port)
        except ConfigError:
            # A slice of the address type FQDN, or nonsense.
            return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise DiscoveryError("the API server's answer is not JSON") from exc
    if not isinstance(document, dict):
        raise DiscoveryError("the API server's answer is no JSON object")
    return document


def _name_of(item: object) -> str | None:
    if not isinstance(item, dict):
        return None
    return _text(item.get("metadata"), "name") or None


def _text(holder: object, key: str) -> str:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""
