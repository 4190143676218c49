"""`spegel-gossip members`: the cluster as this node sees it."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import MembersShape
from spegel_gossip.cli.inspect import ask, inspecting
from spegel_gossip.cli.output import print_json, print_table


@click.command("members")
@inspecting
def command(as_json: bool, **flags: object) -> None:
    """Show the members of the cluster as this node sees them."""
    answer: MembersShape = ask(flags, "/members")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("NAME", "STATE", "ZONE", "ADDRESSES", "RTT", "VERSION", "NOTE"),
        [
            (
                member["name"],
                member["state"],
                member["zone"] or "-",
                " ".join(member["addresses"]),
                "-" if member["rtt_ms"] is None else f"{member['rtt_ms']:.1f} ms",
                member["version"] or "-",
                _note(is_self=member["is_self"], suspected_by=member["suspected_by"]),
            )
            for member in answer["members"]
        ],
    )


def _note(*, is_self: bool, suspected_by: list[str]) -> str:
    if is_self:
        return "this node"
    return f"suspected by {', '.join(suspected_by)}" if suspected_by else ""
