"""`spegel-gossip leases`: what is fetched from the registry now, as far as this node has a say in it."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import LeasesShape
from spegel_gossip.cli.inspect import ask, inspecting
from spegel_gossip.cli.output import human_bytes, print_json, print_table


@click.command("leases")
@inspecting
def command(as_json: bool, **flags: object) -> None:
    """Show the blobs that nodes fetch from the registry with this node's leave, and what it fetches itself.

    Each blob's leave is given by its first owner, so each node shows its own part.
    """
    answer: LeasesShape = ask(flags, "/leases")
    if as_json:
        print_json(answer)
        return
    fetched = ", ".join(answer["fetching"]) or "nothing"
    click.echo(f"this node fetches {fetched}; {answer['waiting']} questions wait for its word")
    if answer["granted"]:
        print_table(
            ("BLOB", "FETCHED BY", "HAS", "OF", "AGE", "RECEIVERS"),
            [
                (
                    lease["digest"],
                    lease["holder"],
                    human_bytes(lease["offset"]),
                    human_bytes(lease["total"]),
                    f"{lease['age']:.1f} s",
                    lease["receivers"],
                )
                for lease in answer["granted"]
            ],
        )
