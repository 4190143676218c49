"""`spegel-gossip pull`: an image from a registry into a layout."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spegel_gossip.cli.output import human_bytes, print_json
from spegel_gossip.cli.registry_options import (
    credential_source,
    platform_option,
    reference_argument,
    registry_options,
)
from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.reference import Reference

if TYPE_CHECKING:
    from spegel_gossip.cli.tally import Tally
    from spegel_gossip.oci.descriptor import Descriptor

DEFAULT_LAYOUT = Path("images")


@click.command("pull")
@click.argument("ref", metavar="IMAGE")
@click.option(
    "--layout",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=DEFAULT_LAYOUT,
    show_default=True,
    help="The image layout that takes it; made if it is not there.",
)
@click.option(
    "--mirror",
    "mirrors",
    metavar="URL",
    multiple=True,
    help="Ask this first, for example http://127.0.0.1:29500; may be given many times.",
)
@click.option(
    "--platform", metavar="OS/ARCH[/VARIANT]", help="Of an image for several platforms, take this one."
)
@click.option("--all-platforms", is_flag=True, help="Take all platforms, not only this machine's.")
@registry_options
def command(ref: str, layout: Path, **flags: Any) -> None:  # noqa: ANN401 - click's own types vary
    """Pull an image from a registry into an OCI image layout.

    IMAGE is written as for docker: nginx is docker.io/library/nginx:latest. What is there
    already is not fetched again, and what an interrupted pull left is gone on with.
    """
    reference = reference_argument(ref)
    if flags["all_platforms"] and flags["platform"]:
        raise ConfigError("--all-platforms and --platform exclude each other: give one of them")
    tally, target = _pull(reference, layout, flags)
    full_name = f"{reference.registry}/{reference.repository}@{target.digest}"
    if flags["as_json"]:
        named = {"image": str(reference), "digest": str(target.digest), "layout": str(layout)}
        print_json({**named, "media_type": target.media_type, **tally.as_json()})
    elif flags["quiet"]:
        click.echo(full_name)
    else:
        click.echo(f"{reference} is in {layout}: {tally.summary('from')}")
        click.echo(f"digest: {target.digest}", err=True)


def _pull(reference: Reference, layout: Path, flags: dict[str, Any]) -> tuple[Tally, Descriptor]:
    # Only here: a wrong argument must be told of before an HTTP client is imported.
    import random

    from spegel_gossip.cli.foreground import run_to_end
    from spegel_gossip.cli.tally import Tally
    from spegel_gossip.cli.views import view
    from spegel_gossip.client.config import ClientConfig
    from spegel_gossip.client.endpoint import endpoints_of
    from spegel_gossip.client.pull import Puller
    from spegel_gossip.client.session import Session
    from spegel_gossip.stores.layout.config import LayoutConfig
    from spegel_gossip.stores.layout.store import LayoutStore
    from spegel_gossip.stores.layout.writer import LayoutWriter

    platform = None if flags["all_platforms"] else platform_option(flags["platform"])
    endpoints = endpoints_of(reference.registry, mirrors=flags["mirrors"], plain_http=flags["plain_http"])
    credentials = credential_source(reference.registry, flags)
    config = ClientConfig()
    with view("from", is_silent=flags["quiet"] or flags["as_json"]) as shown:
        tally = Tally(shown, time.monotonic)

        async def work() -> Descriptor:
            writer = LayoutWriter(layout, time.time)
            await writer.create()
            store = LayoutStore(LayoutConfig(root=layout))
            async with Session(config, credentials) as session:
                puller = Puller(session, store, writer, config, tally, random.Random())
                return await puller.pull(reference, endpoints, platform)

        def last_words() -> str:
            kept = human_bytes(tally.unfinished)
            return (
                f"interrupted: {kept} of unfinished blobs stay in {layout / 'ingest'}; "
                "the same command goes on from there"
            )

        return tally, run_to_end(work, last_words=last_words)
