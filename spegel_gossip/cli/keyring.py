"""`spegel-gossip keyring`: the secrets that make a cluster, made and replaced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

import click

from spegel_gossip.admin.shapes import KeyringShape
from spegel_gossip.cli.inspect import ask, inspecting, tell
from spegel_gossip.cli.output import print_json, print_table
from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.keyring import new_key

_OWNER_ONLY = 0o600
_MAX_KEY_TEXT = 4096


@click.group("keyring")
def command() -> None:
    """Make cluster keys, and replace them.

    A keyring is a file of keys, one a line, the same on every node: the first
    encrypts, all decrypt. To replace a key, add the new one on every node, then use
    it on every node, then remove the old one; never two of these at once.
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


@command.command("list")
@inspecting
def show(as_json: bool, **flags: object) -> None:
    """Show the keys of the running node by their fingerprints."""
    _print(ask(flags, "/keyring"), as_json=as_json)


@command.command("add")
@click.argument("file", type=click.File())
@inspecting
def add(file: TextIO, as_json: bool, **flags: object) -> None:
    """Have the running node decrypt with the key in FILE; `-` reads it from standard input."""
    # Never an argument: those are in the process list and in the shell's history.
    _print(tell(flags, "/keyring/add", {"key": file.read(_MAX_KEY_TEXT)}), as_json=as_json)


@command.command("use")
@click.argument("fingerprint")
@inspecting
def use(fingerprint: str, as_json: bool, **flags: object) -> None:
    """Have the running node encrypt with a key that it has."""
    _print(tell(flags, "/keyring/use", {"fingerprint": fingerprint}), as_json=as_json)


@command.command("remove")
@click.argument("fingerprint")
@inspecting
def remove(fingerprint: str, as_json: bool, **flags: object) -> None:
    """Have the running node forget a key that encrypts no more."""
    _print(tell(flags, "/keyring/remove", {"fingerprint": fingerprint}), as_json=as_json)


def _print(answer: KeyringShape, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    print_table(
        ("FINGERPRINT", "USE"),
        [(key["fingerprint"], "encrypts" if key["encrypts"] else "decrypts") for key in answer["keys"]],
    )
