"""`spegel-gossip status`: the running node on one page."""

from __future__ import annotations

from collections.abc import Mapping

import click

from spegel_gossip.admin.shapes import StatusShape, StoreShape
from spegel_gossip.cli.inspect import ask, inspecting
from spegel_gossip.cli.output import human_bytes, human_seconds, print_facts, print_json


@click.command("status")
@inspecting
def command(as_json: bool, **flags: object) -> None:
    """Show how the running node is."""
    answer: StatusShape = ask(flags, "/status")
    if as_json:
        print_json(answer)
        return
    print_facts(
        {
            "node": f"{answer['node']} of {answer['cluster']}, version {answer['version']}",
            "ready": "; ".join(["yes" if answer["ready"] else "no", *answer["reasons"]]),
            "up": human_seconds(answer["uptime_s"]),
            "store": _store(answer["store"]),
            "members": _counts(answer["members"]),
            "records": _counts(answer["records"]),
            "listens": ", ".join(f"{name} {address}" for name, address in answer["listen"].items()),
            "memory": human_bytes(answer["resident_bytes"]),
            "zero copy": "yes" if answer["zero_copy"] else "no: blobs are copied through Python",
        }
    )


def _store(store: StoreShape) -> str:
    state = "connected" if store["connected"] else "not connected"
    reads = "" if store["readable"] else ", cannot be read"
    reason = f" ({store['reason']})" if store["reason"] else ""
    held = f"{store['blobs']} blobs, {store['tags']} tags, {store['partials']} arriving"
    return f"{store['kind']} {state}{reads}{reason}: {held}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
