"""`spegel-gossip gc`: what no image of a layout needs any more."""

from __future__ import annotations

import time
from pathlib import Path

import click

from spegel_gossip.cli.output import human_bytes, print_json
from spegel_gossip.stores.layout.collection import DEFAULT_GRACE


@click.command("gc")
@click.argument("layout", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=DEFAULT_GRACE,
    show_default=True,
    help="Keep what was put there or asked for since, tagged or not: a pull may be under way.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(layout: Path, grace: float, as_json: bool) -> None:
    """Remove from the OCI image layout DIR the blobs that no entry of its index reaches.

    Ingests that were interrupted and left are removed too. A node may share the
    layout meanwhile, and pulls may go on.
    """
    from spegel_gossip.cli.foreground import run_to_end
    from spegel_gossip.stores.layout.writer import LayoutWriter

    collected = run_to_end(
        lambda: LayoutWriter(layout, time.time).gc(grace=grace),
        last_words=lambda: "interrupted: nothing that is needed is gone",
    )
    if as_json:
        print_json(
            {
                "blobs": [str(digest) for digest in collected.blobs],
                "bytes": collected.bytes,
                "ingests": len(collected.ingests),
            }
        )
    else:
        click.echo(
            f"{layout}: removed {len(collected.blobs)} blobs ({human_bytes(collected.bytes)}) "
            f"and {len(collected.ingests)} interrupted ingests"
        )
