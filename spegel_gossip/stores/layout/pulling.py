"""Has an image pulled into the layout: by `spegel-gossip pull`, through this node's own mirror.

In a process of its own, for two reasons. The node has no part in what a registry client does
and in which credentials it finds (docker's, of the user that the node runs as). And the client
takes its memory along when it ends.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

from spegel_gossip.oci.reference import Reference
from spegel_gossip.pulling import PullFailedError, PullProblem

PULL_TIMEOUT: Final = 3_600.0
"""Seconds for one image."""

MAX_DETAIL: Final = 600
"""Characters of what the program said in the end."""

_PROGRAM: Final = "from spegel_gossip.cli.main import main; main()"
# Our own program's words; a test notices when it finds others.
_UNAUTHORISED = re.compile(r" refuses |wants a (kind of )?login|does not accept the credentials")
_UNKNOWN = re.compile(r" does not have ")


class LayoutPuller:
    """A `pulling.ImagePuller` into one layout."""

    def __init__(self, root: Path, *, mirror: str) -> None:
        """Take where the layout is, and the URL of this node's mirror."""
        self._root = root
        self._mirror = mirror

    async def pull(self, image: Reference) -> None:
        """Return once the layout has the image; a cancelled pull leaves its ingests for the next one."""
        command = [sys.executable, "-c", _PROGRAM, "pull", str(image), "--quiet"]
        command += ["--layout", str(self._root), "--mirror", self._mirror]
        with trio.move_on_after(PULL_TIMEOUT):
            try:
                ended = await trio.run_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
            except OSError as exc:
                raise PullFailedError(PullProblem.FAILED, f"`pull` cannot be started: {exc}") from exc
            if ended.returncode != 0:
                raise _failure(ended.returncode, ended.stderr)
            return
        raise PullFailedError(PullProblem.TIMED_OUT, f"`pull` had not ended within {PULL_TIMEOUT:.0f} s")


def _failure(status: int, stderr: bytes) -> PullFailedError:
    lines = stderr.decode(errors="replace").strip().splitlines()
    detail = (
        lines[-1].removeprefix("spegel-gossip: ")[-MAX_DETAIL:] if lines else f"`pull` ended with {status}"
    )
    problem = PullProblem.FAILED
    if _UNAUTHORISED.search(detail):
        problem = PullProblem.UNAUTHORISED
    elif _UNKNOWN.search(detail):
        problem = PullProblem.UNKNOWN_IMAGE
    return PullFailedError(problem, detail)
