"""structlog, imported without rich.

structlog imports rich wherever that is installed, to draw tracebacks in colour: 66 modules and
3 MB of memory for as long as the process lives, and a node draws nothing. Hidden for the length
of one import, rich is not missed: tracebacks are plain. Commands that draw import rich themselves.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast


def _import() -> None:
    hidden = sys.modules.get("rich")
    # None in the table is what makes an import fail (importlib's own rule).
    sys.modules["rich"] = cast("ModuleType", None)
    try:
        import structlog  # noqa: F401 - for the table of modules
    finally:
        del sys.modules["rich"]
        if hidden is not None:
            sys.modules["rich"] = hidden


_import()
