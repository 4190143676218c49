"""Seeds given one by one: `--seed`."""

from __future__ import annotations

from collections.abc import Sequence

from spegel_gossip.discovery.source import SeedName, resolve
from spegel_gossip.swim.address import Address


class StaticSeed:
    """One `--seed`: an address, or a name that is resolved again each time."""

    def __init__(self, seed: SeedName) -> None:
        self._seed = seed

    @property
    def name(self) -> str:
        """The flag and its value."""
        return f"--seed {self._seed}"

    async def find(self) -> Sequence[Address]:
        """Resolve it.

        Raises:
            DiscoveryError: the name does not resolve now.
        """
        return await resolve(self._seed)
