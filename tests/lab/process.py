"""Child processes with a log, bounded waits, and what the kernel counts about a process.

A child dies with the thread that started it (`setpriv --pdeathsig`), in a session of its own: Ctrl-C reaches
the test run alone, which then takes the lab down in order, and a test run that is killed leaves no process.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

COMMAND_TIMEOUT = 60.0
"""Seconds for one short command (ip, iptables, ctr list)."""

STOP_TIMEOUT = 40.0
"""Seconds between SIGTERM and SIGKILL; our node drains for up to 25."""

POLL_INTERVAL = 0.02
LOG_TAIL = 3_000
"""Characters of each log that an error shows."""


class CommandError(RuntimeError):
    """A command that ended with another status than 0; the message carries all it printed."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)} exited {returncode}:\n{output[-LOG_TAIL:]}")
        self.returncode = returncode
        self.output = output


def run(*argv: str, timeout: float = COMMAND_TIMEOUT, input_text: str | None = None) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        CommandError: its status was not 0.
        subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was killed.
    """
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL if input_text is None else None,
        input=input_text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise CommandError(argv, done.returncode, done.stdout + done.stderr)
    return done.stdout


def tail(log: Path, length: int = LOG_TAIL) -> str:
    """The end of a log with its name above it."""
    text = log.read_text(errors="replace") if log.exists() else "(no such file)"
    return f"--- {log} ---\n{text[-length:]}"


def wait_until(
    condition: Callable[[], bool],
    *,
    what: str,
    timeout: float,
    logs: Sequence[Path] = (),
    still_possible: Callable[[], bool] = lambda: True,
) -> float:
    """Poll until `condition` holds, and return how many seconds that took.

    Args:
        what: ends the sentence "waited N s in vain for ..."
        logs: shown by the error
        still_possible: False ends the wait early, for instance when the process concerned has exited

    Raises:
        TimeoutError: it did not hold within `timeout` seconds, or no longer can.
    """
    started_at = time.monotonic()
    while not condition():
        waited = time.monotonic() - started_at
        possible = still_possible()
        if waited > timeout or not possible:
            why = "" if possible else " (it no longer can: a process has exited)"
            shown = "\n".join(tail(log) for log in logs)
            raise TimeoutError(f"waited {waited:.1f} s in vain for {what}{why}\n{shown}")
        time.sleep(POLL_INTERVAL)
    return time.monotonic() - started_at


class Process:
    """One child process whose output goes to a file; a context manager that ends it."""

    def __init__(
        self, argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as sink:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Its process id; the wrappers (setpriv, ip netns exec) have been replaced by the program itself."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal, None while it runs."""
        return self._popen.poll()

    def is_running(self) -> bool:
        """Whether it has not exited yet."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has exited."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait for its exit.

        Raises:
            TimeoutError: it did not exit in time; it is left running.
        """
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"process {self.pid} still runs after {timeout:.0f} s\n{tail(self.log)}"
            ) from None

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """SIGTERM, and SIGKILL when that is not obeyed in time; returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as a power cut would; returns the exit status."""
        self.signal(signal.SIGKILL)
        return self._popen.wait(COMMAND_TIMEOUT)

    def resident_bytes(self) -> int:
        """Resident memory, in bytes (VmRSS)."""
        return self._status_kib("VmRSS") * 1024

    def anonymous_bytes(self) -> int:
        """The part of the resident memory that no file backs, in bytes (RssAnon)."""
        return self._status_kib("RssAnon") * 1024

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status_kib(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0])
        raise LookupError(f"/proc/{self.pid}/status has no {key}")
