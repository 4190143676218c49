"""One cgroup of ours in every hierarchy of cgroup v1: what a node leaves behind is in it and ends with it."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab.process import wait_until

ROOT = Path("/sys/fs/cgroup")
_END_TIMEOUT = 10.0


def own_cgroups() -> dict[str, Path]:
    """This process's cgroup by the controllers of its hierarchy, as /proc/self/cgroup writes them.

    Empty where there is cgroup v2 alone.
    """
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            found[controllers] = ROOT / controllers.removeprefix("name=") / path.lstrip("/")
    return found


class Cgroup:
    """A directory of the same name in every hierarchy, below the one this process is in."""

    def __init__(self, name: str) -> None:
        own = own_cgroups()
        self.hierarchies: Sequence[str] = list(own)
        self._paths = [parent / name for parent in own.values()]
        for path in self._paths:
            path.mkdir(parents=True, exist_ok=True)
        if "cpuset" in own:
            _inherit_cpuset(own["cpuset"], name)

    def argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` in it."""
        enter = 'for file in $0; do echo $$ > "$file"; done; exec "$@"'
        files = " ".join(str(path / "cgroup.procs") for path in self._paths)
        return ["bash", "-c", enter, files, *argv]

    def delete(self) -> None:
        """End what is left in it and below it, and remove it."""
        for top in self._paths:
            for directory, _, _ in os.walk(top, topdown=False):
                _remove(Path(directory))


def _inherit_cpuset(parent: Path, name: str) -> None:
    # A cpuset without processors or memory takes no process, and a new one has neither.
    for file in ("cpuset.cpus", "cpuset.mems"):
        directory = parent
        for part in Path(name).parts:
            directory /= part
            (directory / file).write_text((parent / file).read_text())


def _remove(directory: Path) -> None:
    def is_gone() -> bool:
        with suppress(OSError):
            for pid in (directory / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            directory.rmdir()
        return not directory.exists()

    wait_until(is_gone, what=f"the end of what is in {directory}", timeout=_END_TIMEOUT)
