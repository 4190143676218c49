"""`spegel-gossip explain`: what a pull of an image on this node would do now, and why."""

from __future__ import annotations

import click

from spegel_gossip.admin.explained import ExplainedOwnerShape, ExplainedTagShape, ExplainShape
from spegel_gossip.cli.inspect import ask, inspecting, key_argument
from spegel_gossip.cli.output import human_bytes, human_seconds, print_json, print_table, printable

_SHOWN = 19
"""Of a digest: `sha256:` and twelve digits."""

_SHOWN_HOLDERS = 4


@click.command("explain")
@click.argument("image", metavar="IMAGE|DIGEST")
@inspecting
def command(image: str, as_json: bool, **flags: object) -> None:
    """Show what a pull of IMAGE on this node would do now, for its tag and each of its blobs, and why."""
    key_argument(image)
    answer: ExplainShape = ask(flags, "/explain", {"image": image})
    if as_json:
        print_json(answer)
        return
    click.echo(f"a pull of {printable(answer['image'])} on {printable(answer['node'])}")
    if "tag" in answer:
        _print_tag(answer["tag"])
    if not answer["parts"]:
        return
    click.echo()
    print_table(
        ("PART", "DIGEST", "SIZE", "OWNERS", "HOLDERS", "FROM", "WHY"),
        [
            (
                f"{part['role']} {part['platform']}".strip(),
                part["digest"][:_SHOWN],
                human_bytes(part["size"]) if part["size"] else "-",
                ", ".join(_owner(owner) for owner in part["owners"]) or "-",
                _some(
                    [
                        holder["name"] if holder["kind"] == "complete" else f"({holder['name']})"
                        for holder in part["holders"]
                    ]
                ),
                _some(part["decision"]["members"])
                if part["decision"]["members"]
                else part["decision"]["source"],
                part["decision"]["why"],
            )
            for part in answer["parts"]
        ],
    )


def _print_tag(tag: ExplainedTagShape) -> None:
    decision = tag["decision"]
    click.echo(f"tag {tag['name']} -> {tag['digest'] or 'unknown'}")
    click.echo(f"  policy {tag['policy']}: {decision['source']}, {decision['why']}")
    click.echo(f"  owners {', '.join(_owner(owner) for owner in tag['owners']) or 'nobody'}")
    if tag["purged_at"]:
        click.echo("  purged: observations from before that count no more")
    for naming in tag["namings"] if len(tag["namings"]) > 1 else ():
        newest = max(one["observed_at"] for one in tag["namings"])
        behind = human_seconds(newest - naming["observed_at"]) if naming["observed_at"] else "unknown age"
        when = "the newest" if naming["observed_at"] == newest else f"older by {behind}"
        click.echo(f"  conflict: {naming['digest']} at {_some(naming['holders'])}, {when}")


def _owner(owner: ExplainedOwnerShape) -> str:
    notes = [] if owner["state"] == "alive" else [owner["state"]]
    if not owner["answered"]:
        notes.append("silent")
    else:
        notes += (["young"] if owner["young"] else []) + ([] if owner["agrees"] else ["other ring"])
        notes += [f"doubts {name}" for name in owner["hidden"]]
    return printable(owner["name"]) + (f" ({'; '.join(notes)})" if notes else "")


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN_HOLDERS])
    return f"{shown} and {len(names) - _SHOWN_HOLDERS} more" if len(names) > _SHOWN_HOLDERS else shown or "-"
