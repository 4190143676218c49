import json
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from lab import images
from shell.stores.layout_bench import put, put_image
from spegel_gossip.cli.main import run_cli
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.writer import LayoutWriter

IMAGE = images.image(1)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    writer = LayoutWriter(tmp_path / "layout", time.time)

    async def fill() -> None:
        await writer.create()
        await put_image(writer, IMAGE, TagName("registry.test", "app", "v1"))
        await put(writer, b"stray")

    trio.run(fill)
    return tmp_path / "layout"


def test_the_young_stay_and_with_no_grace_they_go(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = partial(run_cli, ["gc", str(layout), "--json"])
    assert run() == 0
    assert json.loads(capsys.readouterr().out) == {"blobs": [], "bytes": 0, "ingests": 0}

    assert run_cli(["gc", str(layout), "--grace", "0"]) == 0

    assert "removed 1 blobs (5 B)" in capsys.readouterr().out
    assert {path.name for path in (layout / "blobs" / "sha256").iterdir()} == {
        digest.removeprefix("sha256:") for digest in IMAGE.digests
    }


def test_what_is_no_layout_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "index.json").write_text('{"manifests": []}')
    (tmp_path / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"somebody's")

    assert run_cli(["gc", str(tmp_path), "--grace", "0"]) == 1

    assert "no image layout" in capsys.readouterr().err
    assert (tmp_path / "blobs" / "sha256" / ("0" * 64)).exists()
