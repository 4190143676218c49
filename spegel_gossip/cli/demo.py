"""`spegel-gossip demo`: a whole cluster on this machine, and a story that is checked."""

from __future__ import annotations

from pathlib import Path

import click

from spegel_gossip.demo.config import DemoConfig

_DEFAULTS = DemoConfig()


@click.command("demo")
@click.option(
    "--nodes",
    metavar="N",
    type=click.IntRange(3, 20),
    default=_DEFAULTS.nodes,
    show_default=True,
    help="Nodes at first; one more joins in the end.",
)
@click.option(
    "--size",
    metavar="MB",
    type=click.IntRange(1, 2000),
    default=_DEFAULTS.size_mb,
    show_default=True,
    help="Size of the image; every node gets a copy of it, on disk.",
)
@click.option(
    "--seed",
    metavar="N",
    type=int,
    default=_DEFAULTS.seed,
    show_default=True,
    help="Decides what is in the image.",
)
@click.option("--keep", is_flag=True, help="Leave the cluster up until Ctrl-C, and print commands to try.")
@click.option(
    "--picture",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Save the view as an SVG, as it is when most is moving.",
)
def command(nodes: int, size: int, seed: int, keep: bool, picture: Path | None) -> None:
    """Show the whole idea on this machine: a registry and some nodes, and what happens to them.

    No root, no containerd and no network are needed: everything runs on loopback addresses
    and in a temporary directory, and all of it is gone at the end. Exit code 0 says that
    every claim held.
    """
    # Only here: a wrong argument must be told of before an event loop is imported.
    from rich.console import Console

    from spegel_gossip.cli.foreground import run_to_end
    from spegel_gossip.demo.errors import ClaimError
    from spegel_gossip.demo.run import run_demo

    config = DemoConfig(nodes=nodes, size_mb=size, seed=seed, keep=keep, picture=picture)
    console = Console(highlight=False)
    try:
        run_to_end(
            lambda: run_demo(config, console),
            last_words=lambda: "interrupted: everything is ended and removed",
        )
    except ClaimError as failure:
        click.echo(f"\nThis did not hold: {failure.step}", err=True)
        click.echo(f"  expected: {failure.expected}", err=True)
        click.echo(f"  seen:     {failure.seen}", err=True)
        click.echo(f"  logs:     {failure.logs}", err=True)
        raise click.exceptions.Exit(1) from failure
