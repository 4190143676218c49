"""The live view: the story, the nodes with what they hold and from whom, and who sent how much.

Colours are sources: every node has its own, the registry too, and each block of a layer
has that of whoever sent most of it. A row of one node's colour elsewhere is its image, spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spegel_gossip.demo.picture import REGISTRY, BlobPicture, NodePicture, Picture, Step, StepState, by_number
from spegel_gossip.oci.descriptor import Descriptor

COLOURS = ("cyan", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_green", "bright_magenta")
REGISTRY_COLOUR = "yellow"

TOTAL_WIDTH = 46

MAX_CLAIMS = 3
"""Claims of the step being told that are shown at a time."""

VIEW_WIDTH = 98
"""Columns of the view where the terminal has them; 80 do."""


@dataclass(frozen=True, slots=True)
class _Widths:
    """Columns of what can be drawn wider or narrower."""

    whole: int
    ring: int
    layers: int
    """For all layers of one node, shared out by their sizes."""

    @classmethod
    def within(cls, width: int) -> Self:
        return cls(VIEW_WIDTH, ring=10, layers=24) if width >= VIEW_WIDTH else cls(width, ring=6, layers=16)


_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {
    StepState.AHEAD: ("·", "dim"),
    StepState.HELD: ("✔", "bold green"),
    StepState.FAILED: ("✘", "bold red"),
}
_STATES = {
    "alive": "green",
    "suspect": "yellow",
    "dead": "red",
    "gone": "dim",
    "starting": "dim",
    "left": "dim",
}


class Rates:
    """How fast each node receives, over the last moments."""

    _SPAN = 1.0

    def __init__(self) -> None:
        """Start without a past."""
        self._seen: dict[str, list[tuple[float, int]]] = {}

    def of(self, node: NodePicture, now: float) -> float:
        """Return bytes a second; to be asked at every drawing."""
        here = sum(blob.here for blob in node.blobs.values())
        past = [(at, count) for at, count in self._seen.get(node.name, []) if at > now - self._SPAN]
        past.append((now, here))
        self._seen[node.name] = past
        begun_at, begun = past[0]
        return (here - begun) / (now - begun_at) if now > begun_at else 0.0


def draw(picture: Picture, now: float, rates: Rates, width: int) -> RenderableType:
    """Return the whole view as it is now, in `width` columns at most."""
    widths = _Widths.within(width)
    return Panel(
        Group(
            draw_story(picture.steps, now),
            Text(),
            _draw_nodes(picture, now, rates, widths),
            Text(),
            _draw_totals(picture),
        ),
        title="[bold]spegel-gossip demo[/]",
        subtitle=f"[dim]{picture.seconds(now):.1f} s[/]",
        border_style="dim",
        padding=(0, 1),
        width=widths.whole,
    )


def draw_story(steps: Sequence[Step], now: float, *, with_all_claims: bool = False) -> RenderableType:
    """Return the steps; of the one being told, or of all, with what was found true."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(ratio=1, no_wrap=not with_all_claims, overflow="ellipsis")
    table.add_column(justify="right", width=6)
    for step in steps:
        is_told = step.state is StepState.TOLD
        mark, style = _MARKS.get(step.state, (_SPINNER[int(now * 10) % len(_SPINNER)], "bold"))
        seconds = now - step.begun_at if is_told else step.seconds
        table.add_row(
            Text(mark, style),
            Text(step.title, "bold" if is_told else "dim" if step.state is StepState.AHEAD else ""),
            Text("" if step.state is StepState.AHEAD else f"{seconds:.1f} s", "dim"),
        )
        shown = step.claims if with_all_claims else step.claims[-MAX_CLAIMS:] if is_told else []
        for claim in shown:
            table.add_row("", Text.assemble(("  ✓ ", "green"), (claim, "dim")), "")
    return table


def _draw_nodes(picture: Picture, now: float, rates: Rates, widths: _Widths) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for _ in range(5):
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(
        *(Text(name, "dim") for name in ("node", "seen as", "of the ring", "layers by sender", "receives"))
    )
    for node in picture.nodes.values():
        table.add_row(
            Text(node.name, f"bold {_colour(node.name)}"),
            _state(node, picture.living),
            _ring(node, widths.ring),
            _layers(node, picture, widths.layers),
            _receives(node, rates.of(node, now)),
        )
    is_up = picture.registry_state == "serves"
    table.add_row(
        Text(REGISTRY, f"bold {REGISTRY_COLOUR}"),
        Text(
            picture.registry_state,
            "green" if is_up else "red" if picture.registry_state == "stopped" else "dim",
        ),
        "",
        _bar_of_layers([(1.0, REGISTRY_COLOUR) for _ in _layers_of(picture)], picture, widths.layers)
        if is_up
        else "",
        "",
    )
    return table


def _state(node: NodePicture, living: int) -> Text:
    if node.is_killed and node.state in {"alive", "starting"}:
        # The process is gone, and nobody has found out yet.
        return Text("killed…", "bold red")
    by = f" {node.seen_by}/{living}" if node.seen_by else ""
    return Text.assemble((node.state, _STATES.get(node.state, "")), (by, "dim"))


def _ring(node: NodePicture, width: int) -> Text:
    # A full bar is half of the ring: with several nodes nobody has more.
    return Text.assemble(
        (_bar(min(1.0, 2 * node.share), width), _colour(node.name)),
        (f" {node.share:3.0%}" if node.share else "    ", "dim"),
    )


def _layers(node: NodePicture, picture: Picture, width: int) -> Text:
    parts = []
    for layer in _layers_of(picture):
        blob = node.blobs.get(str(layer.digest), BlobPicture())
        colour = _colour(blob.main_source)
        # Dim until the directory says that it is here: only then can others find it.
        is_known = str(layer.digest) in node.advertised
        fraction = 1.0 if blob.is_whole else blob.here / layer.size
        parts.append(
            (fraction, "bright_black" if node.is_killed else colour if is_known else f"dim {colour}")
        )
    return _bar_of_layers(parts, picture, width)


def _bar_of_layers(parts: Sequence[tuple[float, str]], picture: Picture, columns: int) -> Text:
    text = Text()
    layers = _layers_of(picture)
    whole = sum(layer.size for layer in layers)
    for (fraction, style), layer in zip(parts, layers, strict=True):
        width = max(1, round(columns * layer.size / whole))
        text.append(_bar(fraction, width), style).append(" ")
    return text


def _receives(node: NodePicture, rate: float) -> Text:
    if not node.is_pulling:
        return Text()
    arriving = [blob for blob in node.blobs.values() if not blob.is_whole and blob.here]
    sources = by_number({blob.main_source for blob in arriving})
    if not sources:
        return Text("   asks…", "dim")
    text = Text.assemble(f"{rate / 1e6:4.0f} MB/s ", ("← ", "dim"))
    for source in sources:
        text.append(f"{source} ", _colour(source))
    return text


def _draw_totals(picture: Picture) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    registry, peers = picture.moved(from_registry=True), picture.moved(from_registry=False)
    most = max(registry, peers, 1)
    table.add_row(
        "from the registry",
        Text(_bar(registry / most, TOTAL_WIDTH), REGISTRY_COLOUR),
        f"{registry / 1e6:6.0f} MB",
    )
    table.add_row(
        "from other nodes", Text(_bar(peers / most, TOTAL_WIDTH), "green"), f"{peers / 1e6:6.0f} MB"
    )
    return table


def _layers_of(picture: Picture) -> Sequence[Descriptor]:
    return () if picture.image is None else picture.image.layers


def _colour(name: str) -> str:
    if name == REGISTRY:
        return REGISTRY_COLOUR
    number = name.rpartition("-")[2]
    return COLOURS[(int(number) - 1) % len(COLOURS)] if number.isdigit() else "default"


def _bar(fraction: float, width: int) -> str:
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width, "·" if not eighths else " ")
