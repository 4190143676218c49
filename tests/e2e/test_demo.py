"""The demo as a newcomer starts it: processes on loopback addresses, no root, no network namespace."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import Process, wait_until

DEMO = [sys.executable, "-c", "from spegel_gossip.cli.main import main; main()", "demo"]
SMALL = ["--nodes", "3", "--size", "12"]
PATIENCE = 110.0
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"'


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Short: pytest's own paths are too long for a socket in them.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        (Path(name) / "tmp").mkdir()
        monkeypatch.setenv("TMPDIR", str(Path(name) / "tmp"))
        yield Path(name)


def left_behind(folder: Path) -> list[Path]:
    return sorted((folder / "tmp").iterdir())


def processes_of(folder: Path) -> dict[int, str]:
    """Those whose arguments name the folder, which every process of a demo's has."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder / "tmp") in command:
            found[int(path.parent.name)] = command
    return found


def start(folder: Path, *arguments: str) -> Process:
    return Process([*DEMO, *SMALL, *arguments], log=folder / "out")


def wait_for(words: str, demo: Process) -> None:
    wait_until(
        lambda: words in demo.log.read_text(),
        what=words,
        timeout=PATIENCE,
        logs=[demo.log],
        still_possible=demo.is_running,
    )


def test_every_claim_holds_and_nothing_is_left(folder: Path) -> None:
    done = subprocess.run(
        [*DEMO, *SMALL, "--seed", "4"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line for line in done.stdout.splitlines() if "/5 " in line]
    assert len(steps) == 5
    assert "the registry sent 12 MB for 3 nodes: each blob once" in done.stdout
    assert "For 3 nodes that pulled in the same second the registry sent 12 MB, each byte once" in done.stdout
    assert f"All {done.stdout.count(' ok: ')} claims held" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert left_behind(folder) == []
    assert processes_of(folder) == {}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_interrupted_it_ends_everything_and_removes_it(
    folder: Path, number: signal.Signals, code: int
) -> None:
    demo = start(folder, "--size", "200")
    wait_for("2/5", demo)
    wait_until(lambda: any(folder.glob("tmp/*/node-?/layout/ingest/*/data")), what="a pull", timeout=PATIENCE)

    demo.signal(number)

    assert demo.wait() == code
    assert demo.log.read_text().endswith("\ninterrupted: everything is ended and removed\n")
    assert left_behind(folder) == []
    assert processes_of(folder) == {}


def test_killed_it_leaves_no_process(folder: Path) -> None:
    demo = start(folder)
    wait_for("are at the registry", demo)
    assert processes_of(folder)

    demo.kill()

    wait_until(lambda: not processes_of(folder), what="its processes to end", timeout=40)


def test_a_claim_that_does_not_hold_is_told_with_the_logs(folder: Path) -> None:
    demo = start(folder)
    wait_for("are at the registry", demo)
    (registry,) = [pid for pid, command in processes_of(folder).items() if "demo.upstream" in command]

    os.kill(registry, signal.SIGKILL)

    assert demo.wait(PATIENCE) == 1
    told = demo.log.read_text()
    assert "This did not hold: all 3 pull it" in told
    assert "expected: no failure" in told
    assert "cannot connect" in told
    (logs,) = left_behind(folder)
    assert f"logs:     {logs}" in told
    assert {path.suffix for path in logs.iterdir()} == {".log"}
    assert len(list(logs.glob("node-?.log"))) == 3
    assert processes_of(folder) == {}


def test_kept_up_it_can_be_asked_until_ctrl_c(folder: Path) -> None:
    demo = start(folder, "--keep")
    wait_for("Ctrl-C here removes it all", demo)
    (where,) = left_behind(folder)

    asked = subprocess.run(
        [*DEMO[:-1], "members", "--state-dir", str(where / "node-4")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    demo.signal(signal.SIGINT)

    assert asked.stdout.count("alive") == 3
    assert demo.wait() == 0
    assert left_behind(folder) == []
    assert processes_of(folder) == {}


def test_too_small_a_disk_is_told_before_anything_starts(folder: Path) -> None:
    # One of its own: how large this machine's are is not known.
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    small = ["unshare", *as_root, "--mount", "sh", "-c", ON_A_SMALL_DISK, str(folder / "tmp")]
    done = subprocess.run(
        [*small, *DEMO],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 1
    assert "are needed" in done.stderr
    assert str(folder / "tmp") in done.stderr
