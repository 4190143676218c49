"""The addresses under which the others reach this node: given, or found by the routes to the seeds.

They are looked at again with every look for seeds, because the first may come too early: a name
server is slow while a cluster starts, and a machine may start before its network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

import structlog

from spegel_gossip.config import NodeConfig
from spegel_gossip.discovery.seeds import Seeds
from spegel_gossip.errors import ConfigError
from spegel_gossip.gossip.own_addresses import check_reachable, own_addresses, source_address
from spegel_gossip.swim.address import Address

log = structlog.get_logger(__name__)

FIRST_LOOK = 1.0
"""Seconds that the seeds have before this node starts with those that were found; names that do not
resolve yet must not hold it up."""


class Advertising:
    """Looks for seeds, and sees with each look what this node should advertise."""

    def __init__(
        self,
        config: NodeConfig,
        port: int,
        seeds: Seeds,
        *,
        on_change: Callable[[tuple[Address, ...]], None],
        source_towards: Callable[[str], str | None] = source_address,
    ) -> None:
        """Advertise nothing before `start`.

        Args:
            config: the node's
            port: the peer port
            seeds: all sources of them
            on_change: told of other addresses, after the start
            source_towards: asks the routing table
        """
        self._given = config.advertise_address
        self._bound_host = config.peer_listen.host
        self._port = port
        self._seeds = seeds
        self._on_change = on_change
        self._source_towards = source_towards
        self._addresses: tuple[Address, ...] = ()
        self._problem = ""

    async def start(self) -> tuple[Address, ...]:
        """Return what to advertise at first; within `FIRST_LOOK`.

        Raises:
            ConfigError: it would be loopback, while the seeds are elsewhere.
        """
        given = self._given
        if given is not None and not ipaddress.ip_address(given).is_loopback:
            self._addresses = (Address.make(given, self._port),)
        else:
            self._addresses = self._choose(await self._seeds(within=FIRST_LOOK))
        return self._addresses

    async def find_seeds(self) -> Sequence[Address]:
        """Return the seeds, and tell of addresses that changed."""
        seeds = await self._seeds()
        try:
            addresses = self._choose(seeds)
        except ConfigError as exc:
            # Refused at the start; now there may be transfers under way, and the network may come back.
            if not self._problem:
                self._problem = str(exc)
                log.warning("others may not reach this node", problem=self._problem)
            return seeds
        self._problem = ""
        # A machine whose network is down for a moment has loopback left: nothing to tell anybody.
        if addresses != self._addresses and not _is_loopback(addresses):
            log.info("other addresses are advertised", addresses=[str(one) for one in addresses])
            self._addresses = addresses
            self._on_change(addresses)
        return seeds

    def _choose(self, seeds: Sequence[Address]) -> tuple[Address, ...]:
        if self._given is not None:
            check_reachable(self._given, seeds, why=f"--advertise-address: {self._given} is on loopback")
            return (Address.make(self._given, self._port),)
        return own_addresses(
            bound_host=self._bound_host,
            port=self._port,
            seeds=seeds,
            held=self._addresses,
            source_towards=self._source_towards,
        )


def _is_loopback(addresses: Sequence[Address]) -> bool:
    return all(ipaddress.ip_address(one.host).is_loopback for one in addresses)
