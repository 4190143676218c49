"""How a transfer looks while it runs: bars on a terminal, lines elsewhere, nothing if so wished."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from spegel_gossip.cli.output import human_bytes, printable
from spegel_gossip.cli.tally import BlobTally, View
from spegel_gossip.client.progress import Outcome, Role
from spegel_gossip.oci.digest import Digest

_SHOWN_HEX = 12

_WORDS = {Outcome.HELD: "already there", Outcome.MOUNTED: "mounted"}


@contextmanager
def view(preposition: str, *, is_silent: bool) -> Iterator[View]:
    """Give the view that fits where standard error goes; bytes move `preposition` a source."""
    if is_silent:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield bars
    else:
        yield Lines(preposition)


class Silent:
    """Shows nothing."""

    def update(self, tally: BlobTally) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


class Lines:
    """Writes one line for each blob that is done, and for each trouble."""

    def __init__(self, preposition: str) -> None:
        """Write to standard error: standard output is for the result."""
        self._preposition = preposition
        self._done: dict[Digest, None] = {}

    def update(self, tally: BlobTally) -> None:
        """Write a line if the blob is done."""
        if tally.outcome is None or tally.blob.digest in self._done:
            return
        self._done[tally.blob.digest] = None
        source = printable(tally.source) or "an earlier run"
        how = _WORDS.get(tally.outcome) or f"{self._preposition} {source}"
        click.echo(f"{_name(tally)} {human_bytes(tally.blob.size)}, {how}", err=True)

    def note(self, text: str) -> None:
        """Write it."""
        click.echo(printable(text), err=True)


@contextmanager
def _bars() -> Iterator[View]:
    # Only here: rich costs more to import than all the rest of a command.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    class Bars:
        """Draws a bar for each blob; a blob's own row says where it comes from."""

        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._rows: dict[Digest, TaskID] = {}

        def update(self, tally: BlobTally) -> None:
            row = self._rows.get(tally.blob.digest)
            if row is None:
                if tally.role not in {Role.LAYER, Role.CONFIG}:
                    # A manifest is a few KiB: its bar would be full before it is seen.
                    return
                row = self._progress.add_task(_name(tally), total=tally.blob.size, source="")
                self._rows[tally.blob.digest] = row
            source = _WORDS.get(tally.outcome, "") if tally.outcome is not None else ""
            self._progress.update(
                row, completed=tally.here, source=printable(source or tally.source), refresh=False
            )

        def note(self, text: str) -> None:
            self._progress.console.print(printable(text), markup=False)

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[source]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        yield Bars(progress)


def _name(tally: BlobTally) -> str:
    return f"{tally.role.value:<8} {tally.blob.digest.hex[:_SHOWN_HEX]}"
