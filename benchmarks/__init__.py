"""One script per claim of the project's table of numbers; each says what it measured and against whom.

Run one with `scripts/bench NAME [--short]`. Figures are the machine's, bars are ratios to a peer measured in
the same run wherever there is one.
"""

import sys
from pathlib import Path

# The laboratory of the tests starts real programs, and so do these.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
