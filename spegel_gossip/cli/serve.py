"""`spegel-gossip serve`: a read-only registry over a layout."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spegel_gossip.cli.logs import configure_logs
from spegel_gossip.config.values import LogFormat, LogLevel, named, parse_listen_address
from spegel_gossip.swim.address import Address

if TYPE_CHECKING:
    import trio

    from spegel_gossip.cli.served_layout import ServedLayout
    from spegel_gossip.content import ContentEvent
    from spegel_gossip.health import Health

DEFAULT_LISTEN = "127.0.0.1:5000"


@click.command("serve")
@click.argument("layout", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where to serve; whoever reaches it can read every image of the layout.",
)
def command(layout: Path, listen: str) -> None:
    """Serve the images of the OCI image layout DIR as a registry that takes no pushes.

    An image is found by the name that the layout keeps it under, with or without its
    registry: docker.io/library/nginx:latest as 127.0.0.1:5000/library/nginx:latest, or as
    127.0.0.1:5000/docker.io/library/nginx:latest. Images that come into the layout later
    are served too.
    """
    address = named("--listen", parse_listen_address, listen)
    configure_logs(LogLevel.INFO, LogFormat.CONSOLE)
    _serve(layout, address)


def _serve(layout: Path, address: Address) -> None:
    # Only here: a wrong argument must be told of before a web server is imported.
    import trio

    from spegel_gossip.cli.run import foreseen_failure
    from spegel_gossip.cli.served_layout import ServedLayout
    from spegel_gossip.node.listeners import listen
    from spegel_gossip.stores.layout.directory import LayoutDirectory

    index = LayoutDirectory(layout).read_index()
    listener = listen("--listen", address)
    click.echo(f"serving {layout} at http://{address}; Ctrl-C stops it")
    for entry in index.entries:
        if entry.tag is not None:
            click.echo(f"  {address}/{entry.tag.repository}:{entry.tag.tag}")
    try:
        trio.run(_run, ServedLayout(layout), listener)
    except BaseExceptionGroup as group:
        failure = foreseen_failure(group)
        if failure is None:
            raise
        raise failure from group


async def _run(store: ServedLayout, listener: trio.SocketListener) -> None:
    import trio

    from spegel_gossip.oci.filters import ContentFilter
    from spegel_gossip.registry.alone import Nobody
    from spegel_gossip.registry.app import create_app
    from spegel_gossip.registry.config import RegistryConfig
    from spegel_gossip.splice.pump import Pump
    from spegel_gossip.splice.serving import ServerConfig, serve

    nobody = Nobody()
    app = create_app(
        store=store,
        router=nobody,
        fetcher=nobody,
        health=lambda: _health(store),
        filters=ContentFilter(),
        config=RegistryConfig(),
    )
    pump = Pump()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, _ignore)
            await serve(app, [listener], ServerConfig(), pump=pump, shutdown_trigger=_wait_for_signal)
            nursery.cancel_scope.cancel()
    finally:
        pump.close()


async def _ignore(event: ContentEvent) -> None:
    """Do nothing: there is nobody to tell."""


async def _wait_for_signal() -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


def _health(store: ServedLayout) -> Health:
    from spegel_gossip.health import Health

    availability = store.availability()
    return Health(availability.is_readable, (availability.reason,) if availability.reason else ())
