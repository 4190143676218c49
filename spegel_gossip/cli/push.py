"""`spegel-gossip push`: an image from a layout to a registry."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spegel_gossip.cli.output import print_json
from spegel_gossip.cli.registry_options import (
    credential_source,
    platform_option,
    reference_argument,
    registry_options,
)
from spegel_gossip.oci.reference import Reference

if TYPE_CHECKING:
    from spegel_gossip.cli.tally import Tally
    from spegel_gossip.oci.descriptor import Descriptor


@click.command("push")
@click.argument("layout", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("ref", metavar="IMAGE")
@click.option(
    "--image",
    metavar="NAME|DIGEST",
    help="Which image of the layout; needed if there are several and none is called IMAGE.",
)
@click.option(
    "--platform", metavar="OS/ARCH[/VARIANT]", help="Of an image for several platforms, push only this one."
)
@click.option(
    "--mount-from",
    metavar="REPOSITORY",
    multiple=True,
    help="A repository of the same registry that may have some of its blobs; may be given many times.",
)
@registry_options
def command(layout: Path, ref: str, **flags: Any) -> None:  # noqa: ANN401 - click's own types vary
    """Push an image from the OCI image layout DIR to a registry, as IMAGE.

    What the registry has already is not sent again.
    """
    reference = reference_argument(ref)
    tally, target = _push(layout, reference, flags)
    full_name = f"{reference.registry}/{reference.repository}@{target.digest}"
    if flags["as_json"]:
        named = {"image": str(reference), "digest": str(target.digest), "layout": str(layout)}
        print_json({**named, "media_type": target.media_type, **tally.as_json()})
    elif flags["quiet"]:
        click.echo(full_name)
    else:
        click.echo(f"{reference} is pushed: {tally.summary('to')}")
        click.echo(f"digest: {target.digest}", err=True)


def _push(layout: Path, reference: Reference, flags: dict[str, Any]) -> tuple[Tally, Descriptor]:
    # Only here: a wrong argument must be told of before an HTTP client is imported.
    import random

    from spegel_gossip.cli.foreground import run_to_end
    from spegel_gossip.cli.layouts import find_image, mount_candidates
    from spegel_gossip.cli.tally import Tally
    from spegel_gossip.cli.views import view
    from spegel_gossip.client.config import ClientConfig
    from spegel_gossip.client.endpoint import endpoints_of
    from spegel_gossip.client.push import Pusher
    from spegel_gossip.client.session import Session
    from spegel_gossip.stores.layout.config import LayoutConfig
    from spegel_gossip.stores.layout.store import LayoutStore

    platform = None if flags["platform"] is None else platform_option(flags["platform"])
    entry = find_image(layout, reference, flags["image"])
    mount_from = [*flags["mount_from"], *mount_candidates(layout, entry, reference)]
    (endpoint,) = endpoints_of(reference.registry, plain_http=flags["plain_http"])
    credentials = credential_source(reference.registry, flags)
    config = ClientConfig()
    with view("to", is_silent=flags["quiet"] or flags["as_json"]) as shown:
        tally = Tally(shown, time.monotonic)

        async def work() -> Descriptor:
            store = LayoutStore(LayoutConfig(root=layout))
            async with Session(config, credentials) as session:
                pusher = Pusher(session, store, config, tally, random.Random())
                return await pusher.push(
                    entry.target.digest, reference, endpoint, platform=platform, mount_from=mount_from
                )

        def last_words() -> str:
            return "interrupted: the blobs that are up are not sent again by the same command"

        return tally, run_to_end(work, last_words=last_words)
