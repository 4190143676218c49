"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

_WIDE = 10_000
"""Columns of an output that is not a terminal: a program must not get cells cut short."""


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings; without colour, and unwrapped, when not to a terminal."""
    # Only here: rich costs more to import than all the rest of a command.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, color_system=None, width=_WIDE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    # Rich pads every line to the table's width; nobody needs spaces at the end.
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: other nodes chose some of what is shown."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def human_bytes(count: int) -> str:
    """Return a size in binary units, three digits or so."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """Return a duration by its two largest units."""
    whole = int(seconds)
    for length, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // smaller}{smaller_unit}"
    return f"{whole}s"


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one a line, the values under each other."""
    width = max(len(name) for name in facts) + 1
    for name, value in facts.items():
        click.echo(f"{name + ':':<{width}} {printable(value)}")
