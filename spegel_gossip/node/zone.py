"""The node's zone, from Kubernetes where that was asked for."""

from __future__ import annotations

import dataclasses

import structlog

from spegel_gossip.config import NodeConfig
from spegel_gossip.config.values import parse_zone
from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.errors import ConfigError

log = structlog.get_logger(__name__)


async def with_zone(config: NodeConfig) -> NodeConfig:
    """Return the configuration with the zone of this Kubernetes node, if it is to be asked for and has one.

    Without an answer the node runs without a zone: it then prefers nobody.
    """
    if config.zone or not config.zone_from_node:
        return config
    # The client takes more memory than everything else here: only for those who chose it.
    from spegel_gossip.discovery.node_zone import read_node_zone

    try:
        return dataclasses.replace(config, zone=parse_zone(await read_node_zone(config.node_name)))
    except (DiscoveryError, ConfigError) as exc:
        log.warning("going on without a zone", problem=str(exc))
        return config
