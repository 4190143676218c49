"""The zone of a Kubernetes node, read once at the start from its label: `--zone-from-node`.

Kubernetes gives a pod its node's zone from 1.35 on; before that only the Node object
says it. Imported only where it is chosen, as the client is large.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import trio
import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api
from kubernetes.config import ConfigException, load_incluster_config

from spegel_gossip.discovery.source import DiscoveryError

TIMEOUT: Final = 2.0
"""Seconds to connect, and again to be answered: a zone is a preference, and nobody waits long for it."""

MAX_BYTES: Final = 4 * 1024 * 1024
_LABEL: Final = "topology.kubernetes.io/zone"


async def read_node_zone(
    node: str, *, configure: Callable[[Configuration], None] = load_incluster_config
) -> str:
    """Return the zone that a node's label names, "" if it has none.

    Raises:
        DiscoveryError: the API server did not say, in time.
    """
    return await trio.to_thread.run_sync(_read, node, configure, abandon_on_cancel=True)


def _read(node: str, configure: Callable[[Configuration], None]) -> str:
    configuration = Configuration()
    configuration.retries = False
    try:
        configure(configuration)
        with ApiClient(configuration) as client:
            ask: Any = CoreV1Api(client).read_node  # not preloading, it returns what urllib3 does
            response = ask(node, _preload_content=False, _request_timeout=(TIMEOUT, TIMEOUT))
            document = json.loads(response.read(MAX_BYTES))
        zone = document["metadata"].get("labels", {}).get(_LABEL, "")
    except (urllib3.exceptions.HTTPError, ApiException, ConfigException, OSError) as exc:
        raise DiscoveryError(f"the zone of {node} cannot be read: {str(exc) or type(exc).__name__}") from exc
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as exc:
        raise DiscoveryError(f"the zone of {node} cannot be read: the answer is no Node") from exc
    return zone if isinstance(zone, str) else ""
