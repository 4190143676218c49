"""`spegel-gossip members`: the cluster as this node sees it."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import MemberShape, MembersShape
from spegel_gossip.cli.inspect import ask, inspecting
from spegel_gossip.cli.output import print_json, print_table, printable

SHOWN_CLOCK_OFFSET = 5.0
"""Seconds by which another node's clock may be off without a note."""


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
                _note(member, local_health=answer["local_health"]),
            )
            for member in answer["members"]
        ],
    )
    for conflict in answer["conflicts"]:
        click.echo(
            f"warning: another process at {printable(conflict['address'])} bears the name "
            f"{printable(answer['self'])}: give each node its own --node-name",
            err=True,
        )


def _note(member: MemberShape, *, local_health: int) -> str:
    if member["is_self"]:
        return "this node" if local_health == 0 else f"this node, local health {local_health}"
    notes = []
    if member["suspected_by"]:
        notes.append(f"suspected by {', '.join(member['suspected_by'])}")
    if member["udp_blocked"]:
        notes.append("UDP blocked")
    if abs(offset := member["clock_offset_s"] or 0.0) >= SHOWN_CLOCK_OFFSET:
        notes.append(f"clock {abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}")
    return "; ".join(notes)
