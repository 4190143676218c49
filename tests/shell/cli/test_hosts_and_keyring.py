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


def test_a_foreign_file_in_our_place_fails_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "_default" / "hosts.toml"
    theirs.parent.mkdir()
    theirs.write_text("# theirs\n")

    assert run_cli(["hosts", "write", "--hosts-dir", str(tmp_path)]) == 1

    assert theirs.read_text() == "# theirs\n"
    assert "left alone" in capsys.readouterr().err


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
