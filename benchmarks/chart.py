"""A bar chart as SVG, written by hand: no library is worth a dependency for a dozen rectangles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH, LABELS, VALUES, ROW, GAP = 860, 190, 80, 18, 14
COLOURS = ("#9e9e9e", "#e0a030", "#3070c0")


def bars(
    title: str,
    series: Sequence[str],
    groups: Mapping[str, Sequence[float]],
    unit: str,
    marks: Mapping[str, float],
) -> str:
    """Return a chart of horizontal bars, on a logarithmic scale.

    Args:
        title: above it
        series: what the bars of each group are
        groups: their values, by group
        unit: of the values
        marks: a value for each group that none can be below, drawn as a line
    """
    lowest = min(marks.values()) / 1.5
    highest = max(max(values) for values in groups.values())
    scale = (WIDTH - LABELS - VALUES) / math.log(highest / lowest)

    def place(value: float) -> float:
        return LABELS + scale * math.log(value / lowest)

    height = 64 + sum(ROW * len(values) + GAP for values in groups.values())
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, name in enumerate(series):
        x = 8 + 200 * number
        out.append(f'<rect x="{x}" y="28" width="12" height="12" fill="{COLOURS[number]}"/>')
        out.append(f'<text x="{x + 18}" y="38">{escape(name)}</text>')
    out.append(f'<text x="{8 + 200 * len(series)}" y="38">| no way is faster</text>')
    y = 56
    for group, values in groups.items():
        middle = y + ROW * len(values) / 2 + 4
        out.append(f'<text x="8" y="{middle:.0f}">{escape(group)}</text>')
        for number, value in enumerate(values):
            top, length = y + ROW * number, place(value) - LABELS
            colour = COLOURS[number]
            out.append(
                f'<rect x="{LABELS}" y="{top}" width="{length:.1f}" height="{ROW - 4}" fill="{colour}"/>'
            )
            text = f"{value:,.1f} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
            out.append(f'<text x="{LABELS + length + 4:.1f}" y="{top + 12}">{text}</text>')
        at = place(marks[group])
        end = y + ROW * len(values) - 2
        out.append(f'<line x1="{at:.1f}" y1="{y - 2}" x2="{at:.1f}" y2="{end}" stroke="#000000"/>')
        y += ROW * len(values) + GAP
    return "\n".join([*out, "</svg>", ""])


def write(path: Path, svg: str) -> None:
    """Write it."""
    path.write_text(svg)
