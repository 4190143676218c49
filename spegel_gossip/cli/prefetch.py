"""`spegel-gossip prefetch`: have nodes pull an image before anything needs it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import click

from spegel_gossip.admin.shapes import PrefetchNodeShape, PrefetchShape
from spegel_gossip.cli.inspect import ask, inspecting, tell
from spegel_gossip.cli.output import human_bytes, print_json, printable
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import Reference

LOOK_INTERVAL: Final = 0.5
"""Seconds between two looks at how the nodes stand."""

_ENDED = ("done", "failed")
_CREDENTIALS = (
    "the registry wants credentials. Each node's containerd uses those of its own registry configuration; "
    'pull secrets of pods are not known to it: see docs/operations.md, "Prefetching"'
)


class View(Protocol):
    """Shows how the nodes stand."""

    def update(self, answer: PrefetchShape) -> None:
        """Take in where they are now."""


@click.command("prefetch")
@click.argument("image", metavar="IMAGE")
@click.option(
    "--nodes", default="all", show_default=True, metavar="all|zone|N", help="Which nodes are to have it."
)
@click.option(
    "--at-once",
    type=click.IntRange(min=1, max=256),
    default=64,
    show_default=True,
    help="How many nodes pull at the same time.",
)
@inspecting
def command(image: str, nodes: str, at_once: int, as_json: bool, **flags: object) -> None:
    """Have nodes pull IMAGE now: all, those of this node's zone, or N of them spread over the zones.

    Each node's own containerd (or layout) pulls through its own mirror, so the registry sends each
    blob once. The only credentials are those that each containerd is configured with itself: pull
    secrets of pods are not used, so that what only such a secret opens cannot be prefetched.

    Ctrl-C stops it. Exit code 1 if a node does not have the image in the end.
    """
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError as exc:
        raise click.BadParameter(f"{exc}: give an image such as nginx:1.27") from exc
    arguments = {"image": str(reference), "nodes": nodes, "at_once": str(at_once)}
    answer: PrefetchShape = tell(flags, "/prefetch", arguments)
    answer = _follow(flags, answer, is_silent=as_json)
    failed = [node for node in answer["nodes"] if node["state"] == "failed"]
    if as_json:
        print_json(answer)
    else:
        _summarize(answer, failed)
    if failed or not answer["nodes"]:
        raise click.exceptions.Exit(1)


def _follow(flags: dict[str, Any], answer: PrefetchShape, *, is_silent: bool) -> PrefetchShape:
    id_ = answer["id"]
    with _view(is_silent=is_silent) as view:
        try:
            while True:
                view.update(answer)
                if answer["ended"]:
                    return answer
                time.sleep(LOOK_INTERVAL)  # noqa: TID251 - no event loop runs in this process
                answer = ask(flags, "/prefetch", {"id": id_})
        except KeyboardInterrupt:
            tell(flags, "/prefetch/stop", {"id": id_})
            raise


def _summarize(answer: PrefetchShape, failed: list[PrefetchNodeShape]) -> None:
    nodes = answer["nodes"]
    upstream, peers = (sum(node[origin] for node in nodes) for origin in ("upstream", "peers"))
    click.echo(
        f"{answer['image']}: {len(nodes) - len(failed)} of {len(nodes)} nodes have it; "
        f"{human_bytes(upstream)} from the registry, {human_bytes(peers)} from other nodes"
    )
    if any(node["problem"] == "unauthorised" for node in failed):
        click.echo(_CREDENTIALS, err=True)
    passed_by = [node["name"] for node in nodes if _passed_by(node)]
    if passed_by:
        some = printable(", ".join(passed_by[:5]))
        click.echo(
            f"{len(passed_by)} of {len(nodes)} nodes pulled past their mirror ({some}): their "
            "containerd does not read our hosts.toml; see config_path in docs/installation.md",
            err=True,
        )


def _passed_by(node: PrefetchNodeShape) -> bool:
    return node["state"] == "done" and node["total"] > 0 and not node["upstream"] + node["peers"]


@contextmanager
def _view(*, is_silent: bool) -> Iterator[View]:
    if is_silent:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield bars
    else:
        yield Lines()


class Silent:
    """Shows nothing."""

    def update(self, answer: PrefetchShape) -> None:
        """Ignore it."""


class Lines:
    """Writes one line for each node that has ended, to standard error."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._told: dict[str, None] = {}

    def update(self, answer: PrefetchShape) -> None:
        """Write what is new."""
        for node in answer["nodes"]:
            if node["state"] in _ENDED and node["name"] not in self._told:
                self._told[node["name"]] = None
                click.echo(printable(f"{node['name']}: {words(node)}"), err=True)


def words(node: PrefetchNodeShape) -> str:
    """Return how a node stands."""
    match node["state"]:
        case "failed":
            return f"failed ({node['problem']}): {node['detail']}"
        case "done" if not node["total"]:
            return "it was there already"
        case "done":
            sources = (
                f"{human_bytes(node['upstream'])} from the registry, {human_bytes(node['peers'])} from nodes"
            )
            return f"{human_bytes(node['total'])} in {node['seconds']:.1f} s, {sources}"
        case state:
            return state


@contextmanager
def _bars() -> Iterator[View]:
    # Only here: rich costs more to import than all the rest of a command.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

    class Bars:
        """Draws a bar for each node that pulls or has ended; those that wait have none yet."""

        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._rows: dict[str, TaskID] = {}

        def update(self, answer: PrefetchShape) -> None:
            for node in answer["nodes"]:
                if node["state"] == "waiting":
                    continue
                row = self._rows.get(node["name"])
                if row is None:
                    row = self._progress.add_task(printable(node["name"]), total=None, words="")
                    self._rows[node["name"]] = row
                # Of no bytes a bar is full, which is right where nothing had to come, and only there.
                unknown = {"pulling": None, "failed": 1}.get(node["state"], 0)
                shown = printable(words(node)).partition("\n")[0]
                self._progress.update(
                    row, total=node["total"] or unknown, completed=node["here"], words=shown
                )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        yield Bars(progress)
