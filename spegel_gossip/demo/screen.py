"""The live view on a terminal, drawn again and again; and its picture as a file."""

from __future__ import annotations

import io
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live

from spegel_gossip.demo.picture import Picture, Step
from spegel_gossip.demo.view import VIEW_WIDTH, Rates, draw

FRAME_INTERVAL = 0.1
"""Seconds between two drawings; one takes some milliseconds."""


class Screen:
    """Draws the picture until its context ends; a `teller.Listener` that needs no telling."""

    def __init__(self, picture: Picture, console: Console) -> None:
        """Take what to draw and where."""
        self._picture = picture
        self._rates = Rates()
        self._console = console

    async def run(self) -> None:
        """Draw until cancelled, and take the view away: the summary follows."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(draw(self._picture, trio.current_time(), self._rates), refresh=True)
                await trio.sleep(FRAME_INTERVAL)

    def announce(self, step: Step) -> None:
        """The picture has it."""

    def confirm(self, step: Step, claim: str) -> None:
        """The picture has it."""

    def close(self, step: Step) -> None:
        """The picture has it."""


async def run_photographer(picture: Picture, path: Path) -> None:
    """Keep the view of the moment when most nodes were pulling as an SVG, until cancelled."""
    rates = Rates()
    best = 0
    while True:
        view = draw(picture, trio.current_time(), rates)
        pulling = sum(
            node.is_pulling and any(blob.here and not blob.is_whole for blob in node.blobs.values())
            for node in picture.nodes.values()
        )
        if pulling > best:
            best = pulling
            console = Console(record=True, width=VIEW_WIDTH, file=io.StringIO(), force_terminal=True)
            console.print(view)
            await trio.Path(path).write_text(console.export_svg(title="scripts/demo"))
        await trio.sleep(FRAME_INTERVAL)
