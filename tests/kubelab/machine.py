"""A machine made of namespaces: its own network, mounts, processes, host name and cgroups."""

import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kubelab.cgroups import Cgroup
from lab.network import Namespace
from lab.process import COMMAND_TIMEOUT, Process, run, tail, wait_until

BIN = Path("/opt/kubelab/bin")
_BOOT = Path(__file__).with_name("machine.sh")
_BOOT_TIMEOUT = 20.0
_STOP_TIMEOUT = 30.0

# What a kubelet sets when it starts (setupKernelTunables in pkg/kubelet/cm).
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# Each program is in the machine's own cgroups and leaves its process id, as the machine counts.
_ENTER = 'for file in /sys/fs/cgroup/*/cgroup.procs; do echo $$ >"$file"; done; exec "$@"'
_ENTER_AS_DAEMON = f'echo $$ >"/run/programs/$0"; {_ENTER}'


class Machine:
    """Its disk is a directory and survives `power_off`; `delete` forgets it."""

    def __init__(self, name: str, namespace: Namespace, directory: Path, cgroup: Cgroup) -> None:
        self.name = name
        self.namespace = namespace
        self.directory = directory
        self._cgroup = cgroup
        self._init: Process | None = None
        self._init_pid = 0
        self._daemons: dict[str, Process] = {}

    def prepare(self, binds: Mapping[Path, Path]) -> None:
        """Make its disk: the host's files, and over them each source of `binds` at its target."""
        for top in ("etc", "opt", "var"):
            (self.directory / "upper" / top).mkdir(parents=True)
            (self.directory / "work" / top).mkdir(parents=True)
        for path in ("var/lib/containerd", "var/lib/kubelet", "var/log", "tmp"):
            (self.directory / path).mkdir(parents=True)
        (self.directory / "tmp").chmod(0o1777)
        for setting, value in _SYSCTLS.items():
            file = self.directory / "sysctl" / setting
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
        for target, source in binds.items():
            point = self._on_disk(target)
            point.parent.mkdir(parents=True, exist_ok=True)
            point.mkdir(exist_ok=True) if source.is_dir() else point.touch()
        lines = [f"{source} {target}\n" for target, source in binds.items()]
        (self.directory / "binds").write_text("".join(lines))
        self.write(Path("/etc/hostname"), f"{self.name}\n")
        self.write(Path("/etc/machine-id"), f"{os.urandom(16).hex()}\n")

    @property
    def is_running(self) -> bool:
        """Whether it was booted and not powered off since."""
        return self._init_pid != 0

    def path(self, path: Path) -> Path:
        """Where a file of the running machine is on the host."""
        return Path(f"/proc/{self._init_pid}/root") / path.relative_to("/")

    def write(self, path: Path, text: str) -> None:
        """Write a file below /etc, /opt or /var, whether it runs or not."""
        file = self.path(path) if self.is_running else self._on_disk(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def begin_boot(self) -> None:
        """Switch it on."""
        unshare = ("unshare", "--cgroup", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        boot = (
            "bash",
            str(_BOOT),
            str(self.directory),
            self.name,
            str(BIN / "pause"),
            *self._cgroup.hierarchies,
        )
        argv = (
            "nsenter",
            f"--net=/run/netns/{self.namespace.name}",
            *unshare,
            "--propagation",
            "private",
            *boot,
        )
        self._init = Process(self._cgroup.argv(*argv), log=self.directory / "boot.log")

    def wait_booted(self) -> None:
        """Wait until its init runs."""
        init = self._init
        if init is None:
            raise RuntimeError(f"machine {self.name} was not switched on")

        def is_booted() -> bool:
            for child in Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split():
                with suppress(OSError):
                    if Path(f"/proc/{child}/exe").readlink().name == "pause":
                        self._init_pid = int(child)
            return self.is_running

        wait_until(
            is_booted,
            what=f"machine {self.name} to boot",
            timeout=_BOOT_TIMEOUT,
            logs=[init.log],
            still_possible=init.is_running,
        )

    def run(self, *argv: str, timeout: float = COMMAND_TIMEOUT) -> str:
        """Run a command on it to its end and return what it printed."""
        return run(*self._argv(_ENTER, "run", *argv), timeout=timeout)

    def start(self, name: str, *argv: str) -> Process:
        """Start a program that goes on running; `name` ends it."""
        log = self.directory / f"{name}.log"
        self._daemons[name] = process = Process(self._argv(_ENTER_AS_DAEMON, name, *argv), log=log)
        return process

    def stop(self, name: str) -> None:
        """SIGTERM to a program that was started; nothing happens when it does not run."""
        process = self._daemons.pop(name, None)
        if process is None or not process.is_running():
            return
        # The parent is nsenter, which forwards no signal.
        self.run("sh", "-c", f"kill -TERM $(cat /run/programs/{name})")
        process.wait(_STOP_TIMEOUT)

    def power_off(self) -> None:
        """End every process of it at once, as a power cut does; its mounts go with them."""
        if self._init_pid:
            with suppress(ProcessLookupError):
                os.kill(self._init_pid, signal.SIGKILL)
        for process in (*self._daemons.values(), *([self._init] if self._init else [])):
            process.kill()
        self._daemons.clear()
        self._init = None
        self._init_pid = 0

    def delete(self) -> None:
        """Power off for good, and forget the disk but for the logs."""
        self.power_off()
        self._cgroup.delete()
        for part in ("upper", "work", "var", "tmp"):
            shutil.rmtree(self.directory / part, ignore_errors=True)

    def describe(self) -> str:
        """The ends of its logs."""
        return "\n".join(tail(log) for log in sorted(self.directory.glob("*.log")))

    def _on_disk(self, path: Path) -> Path:
        return self.directory / "upper" / path.relative_to("/")

    def _argv(self, enter: str, name: str, *argv: str) -> list[str]:
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wd=/")
        environment = (f"PATH={BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
        target = ("nsenter", "--target", str(self._init_pid), *spaces)
        return [*target, "--", "env", *environment, "bash", "-c", enter, name, *argv]
