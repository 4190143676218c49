"""`spegel-gossip keyring new`: the secret that makes a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import click

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.keyring import new_key

_OWNER_ONLY = 0o600


@click.group("keyring")
def command() -> None:
    """Make cluster keys.

    A keyring is a file of keys, one a line, the same on every node: the first
    encrypts, all decrypt.
    """


@command.command("new")
@click.option(
    "--output", metavar="FILE", help="Write it to a new file, for its owner only, not to the terminal."
)
def new(output: str | None) -> None:
    """Make a key and print it."""
    if output is None:
        click.echo(new_key())
        return
    path = Path(output)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError as exc:
        # It may be the key of a running cluster.
        raise ConfigError(f"--output: {path} exists: give the name of a new file") from exc
    except OSError as exc:
        raise ConfigError(f"--output: cannot write {path} ({exc.strerror}): give another file") from exc
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{new_key()}\n")
