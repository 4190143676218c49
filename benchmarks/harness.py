"""What every benchmark shares: its flags, its progress, its table, and the JSON that is committed.

A benchmark measures and says so. It exits 0 whatever its bars say, because a slow machine is no failure of
the code; `--strict` is for a machine that is known to be fast enough.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Figure = float | int | str


@dataclass(frozen=True)
class Bar:
    """One promise: a value, what it had to reach, and whether it did."""

    name: str
    value: float
    bar: str
    ok: bool


@dataclass
class Bench:
    """One run of one benchmark."""

    name: str
    seed: int
    is_short: bool
    is_strict: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    only: str = ""
    keeps: bool = False
    _started_at: float = field(default_factory=time.monotonic)

    def progress(self, text: str) -> None:
        """Say on stderr what is being done."""
        print(f"[{time.monotonic() - self._started_at:6.1f} s] {text}", file=sys.stderr, flush=True)

    def figure(self, name: str, value: Figure) -> None:
        """Record what was measured."""
        self.figures[name] = round(value, 4) if isinstance(value, float) else value
        self.progress(f"  {name}: {self.figures[name]}")

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Hold a value against an upper bar."""
        self.bars.append(Bar(name, round(value, 4), f"<= {limit:g}", value <= limit))

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Hold a value against a lower bar."""
        self.bars.append(Bar(name, round(value, 4), f">= {limit:g}", value >= limit))

    def wants(self, part: str) -> bool:
        """Whether this part was asked for, or one that it belongs to: `2.2.6-faults` belongs to `2.2.6`."""
        return not self.only or any(f"{part}-".startswith(f"{asked}-") for asked in self.only.split(","))

    def finish(self) -> int:
        """Print the table, write the JSON of a full run, and return the exit status."""
        print(self._table())
        if not self.only or self.keeps:
            RESULTS.mkdir(exist_ok=True)
            path = RESULTS / f"{self.name}{'-short' if self.is_short else ''}.json"
            document = self._document()
            if self.keeps and path.exists():
                _add_parts_of(document, json.loads(path.read_text()))
            path.write_text(json.dumps(document, indent=2) + "\n")
            self.progress(f"written to {path.relative_to(ROOT)}")
        return 1 if self.is_strict and not all(bar.ok for bar in self.bars) else 0

    def _document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "commit": _commit(),
            "machine": machine(),
            "seed": self.seed,
            "short": self.is_short,
            "figures": self.figures,
            "bars": [asdict(bar) for bar in self.bars],
        }

    def _table(self) -> str:
        rows = [(name, str(value), "", "") for name, value in self.figures.items()]
        rows += [(bar.name, f"{bar.value:g}", bar.bar, "ok" if bar.ok else "SHORT") for bar in self.bars]
        widths = [max([len(row[column]) for row in rows] or [0]) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join([f"{self.name}, seed {self.seed}, {machine()}", *(line.rstrip() for line in lines)])


def run(name: str, description: str, measure: Callable[[Bench], None]) -> None:
    """Read the flags, measure, report, exit."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description)
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--short", action="store_true", help="a look in a minute; not for comparing")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a bar is not reached")
    parser.add_argument("--only", default="", metavar="PARTS", help="parts by commas; writes no result")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="with --only: add the parts to the result, if it is of this commit",
    )
    given = parser.parse_args()
    bench = Bench(name, given.seed, given.short, given.strict, only=given.only, keeps=given.keep)
    measure(bench)
    sys.exit(bench.finish())


def _add_parts_of(document: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Take over the parts that an earlier run of the same code measured."""
    if any(earlier[key] != document[key] for key in ("commit", "machine", "seed", "short")):
        return
    again = {bar["name"] for bar in document["bars"]}
    document["figures"] = earlier["figures"] | document["figures"]
    document["bars"] = [bar for bar in earlier["bars"] if bar["name"] not in again] + document["bars"]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def quantile(values: Sequence[float], fraction: float) -> float:
    """The smallest value that at least `fraction` of all do not exceed (the nearest rank)."""
    # Rounded: 0.07 x 100 is a little more than 7 in binary.
    rank = math.ceil(round(fraction * len(values), 9))
    return sorted(values)[max(rank, 1) - 1]


def machine() -> str:
    """The machine in a few words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    software = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {gibibytes} GiB, {software}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    changed = git("status", "--porcelain", "--untracked-files=no", "spegel_gossip").strip()
    return git("rev-parse", "--short", "HEAD").strip() + ("+" if changed else "")
