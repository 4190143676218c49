"""What every source of seeds is, and a name that is resolved to addresses."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from spegel_gossip.errors import ConfigError, SpegelGossipError
from spegel_gossip.swim.address import Address


class DiscoveryError(SpegelGossipError):
    """A source could not say where seeds are; asking again later may help."""


class SeedSource(Protocol):
    """Knows where members may be found: a list of names, a DNS name, an API.

    Anything that can list addresses fits; one class each, put together by `Seeds`.
    """

    @property
    def name(self) -> str:
        """What to call it in logs: the flag and its value."""

    async def find(self) -> Sequence[Address]:
        """Return the addresses as they are now; none is an answer too.

        Raises:
            DiscoveryError: it could not be asked.
        """


@dataclass(frozen=True, slots=True)
class SeedName:
    """A host, as an IP address or a name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def resolve(seed: SeedName) -> list[Address]:
    """Return all addresses of a name, of both families; the resolver runs in a thread.

    Raises:
        DiscoveryError: the name does not resolve now.
    """
    try:
        found = await trio.socket.getaddrinfo(seed.host, seed.port, type=socket.SOCK_DGRAM)
        addresses = [Address.make(str(info[4][0]), seed.port) for info in found]
    except OSError as exc:
        raise DiscoveryError(f"{seed.host} does not resolve ({exc.strerror or exc})") from exc
    except (UnicodeError, ConfigError) as exc:
        raise DiscoveryError(f"{seed.host} does not resolve ({exc})") from exc
    return list(dict.fromkeys(addresses))
