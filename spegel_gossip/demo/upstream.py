"""The registry of the demo, a program: a layout served read only, and what it counts as metrics."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

import trio

from spegel_gossip.content import ContentEvent
from spegel_gossip.health import Health
from spegel_gossip.node.listeners import listen
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.registry.alone import Nobody
from spegel_gossip.registry.app import create_app
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.splice.pump import Pump
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.status.app import create_status_app
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.swim.address import Address


def main() -> None:
    """Serve until SIGTERM.

    Arguments: the layout, then host and port of the registry, then those of the metrics.
    """
    layout, host, port, status_host, status_port = sys.argv[1:]
    trio.run(_run, Path(layout), Address.make(host, int(port)), Address.make(status_host, int(status_port)))


async def _run(layout: Path, registry: Address, status: Address) -> None:
    store = LayoutStore(LayoutConfig(root=layout))
    nobody = Nobody()

    def health() -> Health:
        return Health(store.availability().is_readable, ())

    app = create_app(
        store=store,
        router=nobody,
        fetcher=nobody,
        health=health,
        filters=ContentFilter(),
        config=RegistryConfig(default_registry=str(registry)),
    )
    status_app = create_status_app(health=health, snapshots={})
    pump = Pump()
    begin = partial(serve, config=ServerConfig(), pump=pump)
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.run, _ignore)
                await nursery.start(partial(begin, app, [listen("registry", registry)]))
                await nursery.start(partial(begin, status_app, [listen("status", status)]))
                await anext(signals)
                nursery.cancel_scope.cancel()
    finally:
        pump.close()


async def _ignore(event: ContentEvent) -> None:
    """Do nothing: there is nobody to tell."""
