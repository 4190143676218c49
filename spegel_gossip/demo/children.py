"""Processes that never outlive the demo, and logs that do when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

END_TIMEOUT = 5.0
"""Seconds for the kernel to end a killed process: one that writes to a slow disk is not gone at once."""

_TAIL_BYTES = 2_000

# PR_SET_PDEATHSIG is 1: whoever kills the demo with SIGKILL leaves nothing behind that runs.
_BOOT = """\
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
from {module} import main
main()
"""


class Child:
    """One program of this package in a process of its own."""

    def __init__(self, module: str, arguments: Sequence[str], *, log: Path, is_piped: bool = False) -> None:
        """Start it; to be called in the main thread, with whose end the child's comes.

        Args:
            module: has a `main` that reads the arguments from `sys.argv`
            arguments: the program's own
            log: takes what it writes to stderr, and to stdout unless piped
            is_piped: its stdout is read from `detach_stdout`, its stdin ends with `let_go`
        """
        self.log = log
        with log.open("ab") as sink:
            # Its own session: Ctrl-C at the terminal is ours, and we end it in order.
            self._popen = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _BOOT.format(module=module), *arguments],
                stdin=subprocess.PIPE if is_piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if is_piped else sink,
                stderr=sink,
                start_new_session=True,
                env=_environment(),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def detach_stdout(self) -> int:
        """Return a descriptor of the reading end of its stdout, which the caller closes."""
        if self._popen.stdout is None:
            raise ValueError("the child was started without a pipe")
        with self._popen.stdout as file:
            return os.dup(file.fileno())

    def let_go(self) -> None:
        """End its stdin, for which it may have waited."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal, None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int | None:
        """Wait for its end, blocking; None if it has not ended in time."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"


def end_all(children: Sequence[Child]) -> None:
    """End them all, blocking for a moment.

    By SIGKILL: whatever they would put in order goes with them, and leaving a cluster
    that ends takes seconds.
    """
    for child in children:
        child.signal(signal.SIGKILL)
    for child in children:
        child.wait(END_TIMEOUT)


def _environment() -> dict[str, str]:
    # A setting for this machine's real node must not reach ours, nor what we ask a proxy.
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SPEGEL_GOSSIP_") and not name.lower().endswith("_proxy")
    }
