import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spegel_gossip.cli.main import run_cli
from spegel_gossip.version import __version__

PROGRAM = [sys.executable, "-c", "from spegel_gossip.cli.main import main; main()"]

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPEGEL_GOSSIP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    def run(*arguments: str) -> str:
        code = run_cli(["run", "--state-dir", str(tmp_path), *arguments])
        captured = capsys.readouterr()
        assert code == 2
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ([], "--cluster-key-file"),
        (["--cluster-key-file", "/missing/key"], "--cluster-key-file"),
        (["--plaintext", "--no-such-flag"], "--no-such-flag"),
        (["--plaintext", "--zone"], "--zone"),
        (["--plaintext", "argument"], "argument"),
        (["--plaintext", "--registry-listen", "localhost:1"], "--registry-listen"),
        (["--plaintext", "--peer-listen", "[::]:70000"], "--peer-listen"),
        (["--plaintext", "--advertise-address", "node"], "--advertise-address"),
        (["--plaintext", "--seed", "a:b"], "--seed"),
        (["--plaintext", "--discovery", "kubernetes"], "--discovery"),
        (["--plaintext", "--store", "floppy"], "--store"),
        (["--plaintext", "--registry-filter", "("], "--registry-filter"),
        (["--plaintext", "--tag-policy", "x=y"], "--tag-policy"),
        (["--plaintext", "--mirror-registry", "https://x/y"], "--mirror-registry"),
        (["--plaintext", "--log-level", "loud"], "--log-level"),
        (["--plaintext", "--state-dir", "/missing/state"], "--state-dir"),
        (["--plaintext", "--write-hosts", "--hosts-dir", "/missing"], "--hosts-dir"),
        (["--plaintext", "--config", "/missing.toml"], "--config"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_nothing_starts(
    refused: Refused, arguments: list[str], flag: str
) -> None:
    assert flag in refused(*arguments)


def test_a_wrong_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["rnu"]) == 2
    assert "'rnu'" in capsys.readouterr().err


def test_no_command_shows_the_help_and_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([]) == 2
    assert "members" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "status",
        "members",
        "ring",
        "holders",
        "leases",
        "prefetch",
        "pull",
        "push",
        "serve",
        "gc",
        "hosts",
        "keyring",
        "version",
    ],
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run_cli([command, "--help"]) == 0
    assert f"spegel-gossip {command}" in capsys.readouterr().out


def test_a_node_that_is_not_running_is_a_failure_and_not_a_wrong_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_cli(["members", "--state-dir", str(tmp_path)]) == 1
    assert "is the node running" in capsys.readouterr().err


def test_a_process_ends_with_the_same_codes() -> None:
    version = subprocess.run([*PROGRAM, "version"], capture_output=True, text=True, check=False)
    refusal = subprocess.run([*PROGRAM, "run"], capture_output=True, text=True, check=False)

    assert (version.returncode, version.stdout) == (0, f"{__version__}\n")
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert refusal.stderr.count("\n") == 1


def test_a_pipe_that_nobody_reads_is_no_cause_for_a_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        result = subprocess.run([*PROGRAM, "version"], stdout=write_end, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write_end)

    assert result.stderr == b""


def test_version_imports_neither_an_event_loop_nor_a_table() -> None:
    # What makes a command slow to start; counted, not timed.
    script = (
        "import sys; from spegel_gossip.cli.main import run_cli; run_cli(['version']); "
        "print(sorted({'trio', 'rich', 'grpc', 'cryptography', 'quart', 'httpx'} "
        "& set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.splitlines()[-1] == "[]"
