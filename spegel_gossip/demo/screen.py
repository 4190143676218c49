"""The live view on a terminal, drawn again and again; and its picture as a file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live

from spegel_gossip.demo.picture import Picture, Step
from spegel_gossip.demo.view import VIEW_WIDTH, Rates, draw

FRAME_INTERVAL = 0.1
"""Seconds between two drawings; one takes some milliseconds."""

_FONTS = re.compile(r"@font-face {.*?}\s*", re.DOTALL)


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
                view = draw(self._picture, trio.current_time(), self._rates, self._console.width)
                live.update(view, refresh=True)
                await trio.sleep(FRAME_INTERVAL)

    def announce(self, step: Step) -> None:
        """The picture has it."""

    def confirm(self, step: Step, claim: str) -> None:
        """The picture has it."""

    def close(self, step: Step) -> None:
        """The picture has it."""


async def run_photographer(picture: Picture, path: Path) -> None:
    """Keep the view as an SVG, of the moment when most nodes received from most others, until cancelled."""
    rates = Rates()
    best = 0
    while True:
        view = draw(picture, trio.current_time(), rates, VIEW_WIDTH)
        colours = _sources_arriving(picture)
        # The last of the best: at the beginning of a pull there is little to see.
        if len(colours) >= max(best, 1):
            best = len(colours)
            console = Console(record=True, width=VIEW_WIDTH, file=io.StringIO(), force_terminal=True)
            console.print(view)
            svg = console.export_svg(title="scripts/demo", unique_id="demo")
            # Without fonts from somebody's server: who looks at a picture should ask nobody.
            await trio.Path(path).write_text(_FONTS.sub("", svg))
        await trio.sleep(FRAME_INTERVAL)


def _sources_arriving(picture: Picture) -> set[tuple[str, str]]:
    return {
        (node.name, blob.main_source)
        for node in picture.nodes.values()
        for blob in node.blobs.values()
        if node.is_pulling and blob.here and not blob.is_whole
    }
