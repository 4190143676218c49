"""Where the image layout is, and how often it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutConfig:
    """The image layout of this node."""

    root: Path
    """The directory with `oci-layout` and `index.json`."""

    look_interval: float = 1.0
    """Seconds between looks at `index.json` besides the kernel's news: a vanished mount tells nothing."""

    index_patience: float = 0.5
    """Seconds for which an unreadable `index.json` is taken for one that somebody is just writing."""

    reconcile_interval: float = 300.0
    """Seconds between two full comparisons with the disk; what no event told is noticed then."""
