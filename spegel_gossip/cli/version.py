"""`spegel-gossip version`."""

import click

from spegel_gossip.version import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(__version__)
