"""What the story came to, in one table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spegel_gossip.demo.picture import REGISTRY
from spegel_gossip.demo.pulls import PullResult
from spegel_gossip.demo.story import Outcome

_COLUMNS = ("pull", "from the registry", "from other nodes", "first byte", "wall time", "who sent it")


def print_summary(console: Console, outcome: Outcome, seconds: float, *, claims: int) -> None:
    """Print a row for each pull, their sums, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True, footer_style="bold")
    for column, footer in zip(_COLUMNS, _sums(outcome.pulls), strict=True):
        table.add_column(column, footer, justify="left" if column in {"pull", "who sent it"} else "right")
    for result in outcome.pulls:
        table.add_row(
            result.name,
            _mb(result.from_registry if result.has_asked_registry else 0),
            _mb(result.from_peers),
            f"{result.first_byte * 1000:.0f} ms",
            f"{result.seconds:.2f} s",
            ", ".join([REGISTRY] * result.has_asked_registry + result.peers),
        )
    console.print()
    console.print(table)
    console.print()
    moved = sum(result.from_registry + result.from_peers for result in outcome.pulls)
    saved = sum(result.from_peers for result in outcome.pulls) / moved if moved else 0.0
    console.print(
        Text(
            f"For {outcome.herd} nodes that pulled in the same second the registry sent "
            f"{_mb(outcome.blob_bytes)}, each byte once; {saved:.0%} of all bytes never left the cluster. "
            f"A killed node was out of every view after {outcome.detection:.1f} s. "
            f"All {claims} claims held; {seconds:.1f} s in all.",
            "green",
        )
    )


def _sums(pulls: Sequence[PullResult]) -> tuple[str, ...]:
    registry = sum(result.from_registry for result in pulls)
    peers = sum(result.from_peers for result in pulls)
    return (f"{len(pulls)} pulls", _mb(registry), _mb(peers), "", "", "")


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count else "-"
