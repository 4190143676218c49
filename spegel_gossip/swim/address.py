"""A socket address of a member, as data."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self

from spegel_gossip.errors import ConfigError

MAX_PORT = 65535


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address (v4 or v6, never a name) and a port."""

    host: str
    port: int

    @classmethod
    def make(cls, host: str, port: int) -> Self:
        """Check and canonicalise; a v4 address mapped into v6 becomes the v4 one.

        Raises:
            ConfigError: if `host` is not an IP address or `port` not a port.
        """
        try:
            ip = ipaddress.ip_address(host.partition("%")[0])
        except ValueError as exc:
            raise ConfigError(f"{host!r} is not an IP address") from exc
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if not 0 < port <= MAX_PORT:
            raise ConfigError(f"port must be 1-{MAX_PORT}, got {port}")
        return cls(str(ip), port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
