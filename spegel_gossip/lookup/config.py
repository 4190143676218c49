"""What the operator, or a test, decides about the router."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.directory.advertisement import SPREAD_INTERVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupConfig:
    """How this node takes part in the directory."""

    spread_interval: float = SPREAD_INTERVAL
    """Seconds over which a new owner is told; less only where all members are on one machine."""

    state_dir: Path | None = None
    """Where observations of tags and purges survive a restart; None: they do not."""

    advertises_reached_only: bool = False
    """Whether a blob is advertised only once an image or a request that the filters allow reached it."""
