import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spegel_gossip.cli import cleanup
from spegel_gossip.cli.main import run_cli

PROGRAM = Path(sys.executable).with_name("spegel-gossip")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def cleaned(certs: Path, state: Path, port: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    where = ["--hosts-dir", str(certs), "--state-dir", str(state)]
    argv = [
        str(PROGRAM),
        "cleanup",
        "node",
        *where,
        "--remove-state",
        "--answer",
        f"[127.0.0.1]:{port}",
        *more,
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_node_is_cleaned_before_it_says_so_and_ends_when_told(tmp_path: Path) -> None:
    certs, state = tmp_path / "certs.d", tmp_path / "state"
    certs.mkdir()
    (state / "deep").mkdir(parents=True)
    (state / "boot").write_text("1")
    assert run_cli(["hosts", "write", "--hosts-dir", str(certs)]) == 0
    port = free_port()

    with cleaned(certs, state, port) as process:
        assert run_cli(["cleanup", "wait", "--nodes", f"127.0.0.1:{port}", "--timeout", "30"]) == 0

        assert list(certs.iterdir()) == []
        assert list(state.iterdir()) == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_hosts_files_that_are_somebody_elses_are_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "boot").write_text("1")
    port = free_port()

    # Their directory is not even mounted.
    with cleaned(tmp_path / "nowhere", state, port, "--keep-hosts"):
        assert run_cli(["cleanup", "wait", "--nodes", f"127.0.0.1:{port}", "--timeout", "30"]) == 0
        assert list(state.iterdir()) == []


def test_waiting_for_nodes_that_never_answer_ends_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_cli(["cleanup", "wait", "--nodes", f"127.0.0.1:{free_port()}", "--timeout", "1"]) == 1
    assert "hosts remove" in capsys.readouterr().err


def test_a_name_without_a_port_is_a_wrong_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["cleanup", "wait", "--nodes", "nodes.svc"]) == 2
    assert "--nodes" in capsys.readouterr().err


def test_a_node_that_accepts_only_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "ROUND_INTERVAL", 0.05)
    port = free_port()
    listening: list[socket.socket] = []
    timer = threading.Timer(0.3, lambda: listening.append(socket.create_server(("127.0.0.1", port))))
    timer.start()

    assert run_cli(["cleanup", "wait", "--nodes", f"127.0.0.1:{port}", "--timeout", "30"]) == 0

    timer.join()
    assert listening
    listening[0].close()
