"""What can be chosen of a demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """What can be chosen."""

    nodes: int = 5
    """Nodes at first; one more joins in the end."""

    size_mb: int = 200
    """Size of the image in MB; every node gets a copy."""

    seed: int = 0
    """Of the image's content."""

    keep: bool = False
    """Leave the cluster up until Ctrl-C."""

    picture: Path | None = None
    """Where the view goes as an SVG, as it was when most was moving."""
