"""`spegel-gossip explain`: what a pull of an image on this node would do now, and why."""

from __future__ import annotations

from collections.abc import Sequence

import click

from spegel_gossip.admin.explained import (
    ExplainedHolderShape,
    ExplainedOwnerShape,
    ExplainedPartShape,
    ExplainedTagShape,
    ExplainShape,
)
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
    _print_parts(answer["parts"])
    arriving = [part for part in answer["parts"] if part["partials"] or part["leases"] or part["waiting"]]
    if arriving:
        click.echo()
        _print_arrivals(arriving)


def _print_parts(parts: Sequence[ExplainedPartShape]) -> None:
    print_table(
        ("PART", "DIGEST", "SIZE", "OWNERS", "HOLDERS", "FROM", "WHY"),
        [
            (
                f"{part['role']} {part['platform']}".strip(),
                part["digest"][:_SHOWN],
                human_bytes(part["size"]) if part["size"] else "-",
                ", ".join(_owner(owner) for owner in part["owners"]) or "-",
                _some([_holder(one) for one in part["holders"] if one["kind"] == "complete"]),
                _some(part["decision"]["members"])
                if part["decision"]["members"]
                else part["decision"]["source"],
                part["decision"]["why"],
            )
            for part in parts
        ],
    )


def _print_arrivals(parts: Sequence[ExplainedPartShape]) -> None:
    """Print who is receiving which blob, and from whom; by a lease, it is from the registry."""
    rows: list[tuple[str, ...]] = []
    for part in parts:
        ages = {lease["holder"]: lease["age"] for lease in part["leases"]}
        rows.extend(
            (
                part["digest"][:_SHOWN],
                _node(one["name"], one["zone"], one["state"]),
                human_bytes(one["offset"]) + (f" of {human_bytes(one['total'])}" if one["total"] else ""),
                f"registry, lease of {ages[one['name']]:.1f} s"
                if one["name"] in ages
                else printable(one["reads_from"]) or "-",
            )
            for one in part["partials"]
        )
        if part["waiting"]:
            rows.append((part["digest"][:_SHOWN], f"{part['waiting']} more wait", "-", "-"))
    print_table(("ARRIVING", "AT", "HAS", "FROM"), rows)


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


def _holder(holder: ExplainedHolderShape) -> str:
    return _node(holder["name"], holder["zone"], holder["state"])


def _node(name: str, zone: str, state: str) -> str:
    notes = ([zone] if zone else []) + ([] if state == "alive" else [state])
    return name + (f" ({', '.join(notes)})" if notes else "")


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN_HOLDERS])
    return f"{shown} and {len(names) - _SHOWN_HOLDERS} more" if len(names) > _SHOWN_HOLDERS else shown or "-"
