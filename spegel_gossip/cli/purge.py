"""`spegel-gossip purge`: have the whole cluster forget what a tag names."""

from __future__ import annotations

import click

from spegel_gossip.admin.explained import PurgeShape
from spegel_gossip.cli.inspect import inspecting, key_argument, tell
from spegel_gossip.cli.output import print_json


@click.command("purge")
@click.argument("tag", metavar="TAG")
@inspecting
def command(tag: str, as_json: bool, **flags: object) -> None:
    """Have all nodes forget what TAG names, so that the next pull asks the registry.

    Nodes that are away are told when they come back, for 24 hours. Images stay where
    they are, and are served by their digests.
    """
    answer: PurgeShape = tell(flags, "/purge", {"tag": key_argument(tag)})
    if as_json:
        print_json(answer)
        return
    click.echo(f"{answer['tag']} purged: {answer['told']} of {answer['members']} members have heard it")
    if answer["told"] < answer["members"]:
        click.echo(
            "the others are told as soon as they can be reached; one whose clock is a day off refuses it, "
            "which 'members' shows"
        )
