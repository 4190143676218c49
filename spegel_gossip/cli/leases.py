"""`spegel-gossip leases`: what is fetched from the registry now, as far as this node has a say in it."""

from __future__ import annotations

import click

from spegel_gossip.admin.shapes import LeasesShape
from spegel_gossip.cli.inspect import ask, inspecting
from spegel_gossip.cli.output import human_bytes, print_facts, print_json, print_table


@click.command("leases")
@inspecting
def command(as_json: bool, **flags: object) -> None:
    """Show the blobs that nodes fetch from the registry with this node's leave, and what it fetches itself.

    Each blob's leave is given by its first owner, so each node shows its own part. The sums
    below are this node's since its start.
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
    print_facts(_facts(answer))


def _facts(answer: LeasesShape) -> dict[str, str]:
    counts, held, arrived = answer["counts"], answer["held"], answer["bytes"]
    lost = ", ".join(f"{count} {why}" for why, count in counts["lost"].items())
    whole = arrived["upstream"] + arrived["saved"]
    share = f" ({100 * arrived['saved'] / whole:.0f} %)" if whole else ""
    return {
        "leases granted": f"{counts['granted']}; lost: {lost}; refused {counts['refused']}",
        "told to read from": f"{counts['attached']}",
        "requests held": f"{held['now']} now, {held['total']} in all; slots yielded {answer['yields']}",
        "from the registry": human_bytes(arrived["upstream"]),
        "from nodes": f"{human_bytes(arrived['complete'])} of complete copies, "
        f"{human_bytes(arrived['partial'])} of growing ones",
        "egress saved": f"{human_bytes(arrived['saved'])}{share}",
    }
