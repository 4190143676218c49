"""`spegel-gossip holders`: who has an image or a digest."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import HoldersShape
from spegel_gossip.cli.inspect import ask, inspecting, key_argument
from spegel_gossip.cli.output import human_bytes, print_json, print_table


@click.command("holders")
@click.argument("key", metavar="IMAGE|DIGEST")
@inspecting
def command(key: str, as_json: bool, **flags: object) -> None:
    """Show which nodes hold an image or a digest, as its owners know."""
    answer: HoldersShape = ask(flags, "/holders", {"key": key_argument(key)})
    if as_json:
        print_json(answer)
        return
    named = f" ({answer['digest']})" if "digest" in answer else ""
    owners = ", ".join(answer["owners"]) or "nobody"
    click.echo(f"{answer['key']}{named}, owned by {owners}")
    if not answer["holders"]:
        click.echo("nobody holds it: a pull goes to the registry")
        return
    print_table(
        ("HOLDER", "ZONE", "KIND", "SIZE"),
        [
            (holder["name"], holder["zone"] or "-", holder["kind"], human_bytes(holder["size"]))
            for holder in answer["holders"]
        ],
    )
