import base64
import json
import stat
from pathlib import Path

import pytest

from spegel_gossip.cli.main import run_cli
from spegel_gossip.wire.keyring import KEY_BYTES, load_keyring


def test_hosts_are_written_shown_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--hosts-dir", str(tmp_path)]
    assert run_cli(["hosts", "write", *where]) == 0
    assert run_cli(["hosts", "write", *where]) == 0
    assert "nothing to change" in capsys.readouterr().out

    assert run_cli(["hosts", "show", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(entry["folder"], entry["state"]) for entry in shown["entries"]] == [("_default", "current")]

    assert run_cli(["hosts", "remove", *where]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_must_be_left_alone_fails_unless_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "docker.io" / "hosts.toml"
    theirs.parent.mkdir()
    theirs.write_text("[host\n")

    assert run_cli(["hosts", "write", "--hosts-dir", str(tmp_path)]) == 1
    assert "left alone" in capsys.readouterr().err
    assert run_cli(["hosts", "write", "--lenient", "--hosts-dir", str(tmp_path)]) == 0
    assert "left alone" in capsys.readouterr().err

    assert theirs.read_text() == "[host\n"
    assert (tmp_path / "_default" / "hosts.toml").exists()


def test_hosts_name_the_address_by_which_containerd_reaches_the_mirror(tmp_path: Path) -> None:
    where = ["--hosts-dir", str(tmp_path), "--registry-listen", "10.0.0.1:29500"]
    assert run_cli(["hosts", "write", *where, "--mirror-address", "127.0.0.1:5"]) == 0

    assert '[host."http://127.0.0.1:5"]' in (tmp_path / "_default" / "hosts.toml").read_text()


@pytest.mark.parametrize("command", ["write", "remove", "show"])
def test_a_missing_directory_is_a_wrong_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["hosts", command, "--hosts-dir", "/missing"]) == 2
    assert "--hosts-dir: /missing" in capsys.readouterr().err


def test_a_new_key_is_one_that_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["keyring", "new"]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "key"
    file.write_text(printed)

    assert len(base64.b64decode(printed)) == KEY_BYTES
    assert load_keyring(file).primary == base64.b64decode(printed)


def test_a_key_in_a_file_is_for_its_owner_and_never_replaces_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"

    assert run_cli(["keyring", "new", "--output", str(file)]) == 0
    before = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().out == ""

    assert run_cli(["keyring", "new", "--output", str(file)]) == 2
    assert file.read_text() == before
