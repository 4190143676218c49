import tempfile
from pathlib import Path

import pytest

from spegel_gossip.demo.leftovers import PREFIX, own_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(place: Path, name: str) -> Path:
    folder = place / f"{PREFIX}{name}"
    (folder / "node-1" / "layout").mkdir(parents=True)
    (folder / "node-1.log").write_text("")
    return folder


def test_what_a_killed_demo_left_is_gone_when_the_next_one_begins(place: Path) -> None:
    killed = left(place, "killed")

    with own_folder() as folder:
        assert not killed.exists()
        assert list(place.iterdir()) == [folder]


def test_a_demo_that_runs_keeps_its_folder(place: Path) -> None:
    with own_folder() as first:
        (first / "node-1").mkdir()
        with own_folder() as second:
            assert first.exists()
            assert first != second


def test_logs_that_were_left_on_purpose_stay(place: Path) -> None:
    folder = place / f"{PREFIX}failed"
    folder.mkdir()
    (folder / "node-1.log").write_text("why")

    with own_folder():
        assert (folder / "node-1.log").read_text() == "why"


def test_what_is_no_demos_is_not_touched(place: Path) -> None:
    other = place / "precious"
    (other / "folder").mkdir(parents=True)
    (place / f"{PREFIX}link").symlink_to(other)
    (place / f"{PREFIX}file").write_text("")

    with own_folder():
        assert (other / "folder").exists()
        assert (place / f"{PREFIX}link").is_symlink()
        assert (place / f"{PREFIX}file").exists()
