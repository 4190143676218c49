"""Seeds behind one DNS name: `--seed-dns`.

For a Kubernetes headless service with `publishNotReadyAddresses`, whose A and AAAA
records are the pods, ready or not: a node must find the others before it is ready.
"""

from __future__ import annotations

from collections.abc import Sequence

from spegel_gossip.discovery.source import SeedName, resolve
from spegel_gossip.swim.address import Address


class DnsSeeds:
    """All addresses of one name, each a member on the peer port."""

    def __init__(self, host: str, *, port: int) -> None:
        self._seed = SeedName(host, port)

    @property
    def name(self) -> str:
        """The flag and its value."""
        return f"--seed-dns {self._seed.host}"

    async def find(self) -> Sequence[Address]:
        """Resolve it.

        Raises:
            DiscoveryError: the name does not resolve now.
        """
        return await resolve(self._seed)
