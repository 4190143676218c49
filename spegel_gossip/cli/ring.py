"""`spegel-gossip ring`: who is responsible for what."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import RingShape
from spegel_gossip.cli.inspect import ask, inspecting, key_argument
from spegel_gossip.cli.output import print_json, print_table


@click.command("ring")
@click.option(
    "--digest",
    "--key",
    "key",
    metavar="DIGEST|IMAGE",
    help="Show who owns this key: a digest, or an image by its tag.",
)
@inspecting
def command(key: str | None, as_json: bool, **flags: object) -> None:
    """Show each member's share of the ring, or who owns a key.

    The owners of a key remember who holds it; they need not hold it themselves.
    """
    answer: RingShape = ask(flags, "/ring", {"key": key_argument(key)} if key else None)
    if as_json:
        print_json(answer)
    elif "key" in answer:
        print_table(
            ("OWNER", "ORDER", "NOTE"),
            [
                (owner["name"], order, "young: still being told of holders" if owner["young"] else "")
                for order, owner in enumerate(answer["key"]["owners"], start=1)
            ],
        )
    else:
        print_table(
            ("NAME", "SHARE", "TOKENS"),
            [(member["name"], f"{member['share']:.1%}", member["tokens"]) for member in answer["members"]],
        )
